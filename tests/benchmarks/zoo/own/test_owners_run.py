"""A model of one's own is run as its owner runs it, or refused: on folders that once were not."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from benchmarks.hardware import select
from benchmarks.measure import stages
from benchmarks.preparation import agreement
from benchmarks.zoo.dense import read_examples, write_examples
from benchmarks.zoo.own.checkpoint import ModelError
from benchmarks.zoo.own.kind import kinds
from compressors.interface import Examples, PressbenchError, no_progress

sys.path.append(str(Path(__file__).parent))
from own_folders import KINDS, Here, agreed, lines, made, reviews, texts, tiny_models, understood


def test_every_kind_is_run_as_its_owner_does() -> None:
    assert set(KINDS) == set(kinds())


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_folder_is_run_as_its_owner_does(kind: str, tmp_path: Path) -> None:
    model, data, said = KINDS[kind]
    model(tmp_path / "model")
    data(tmp_path)
    found = understood(tmp_path, model="model", **said)
    assert found.task.kind == kind
    told = agreed(found, made(found, tmp_path), tmp_path)
    assert told["shown"] and told["difference"] < 1e-3, told
    assert "transformers" in agreement.told(told)


def test_padding_that_the_suite_gets_wrong_is_seen(tmp_path: Path) -> None:
    """The fault that the check is for: a mask that does not cover the padding."""
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    dense = made(model, tmp_path)
    right = read_examples(dense.inputs_path)
    mask = torch.ones_like(right.inputs["attention_mask"])
    write_examples(Examples({**right.inputs, "attention_mask": mask}, right.labels), dense.inputs_path)
    with pytest.raises(PressbenchError, match=r"own: the suite does not run it as its owner does: [1-8] of 8 answers"):
        agreed(model, dense, tmp_path)


def test_weights_that_are_others_than_the_owners_are_seen(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    dense = made(model, tmp_path)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    stored["classifier.bias"] = stored["classifier.bias"] + 1
    save_file(stored, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PressbenchError, match="8 of 8 answers are others than those of transformers' text-class"):
        agreed(model, dense, tmp_path)


def test_what_nobody_can_run_is_not_shown(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    dense = made(model, tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    told = agreed(model, dense, tmp_path)
    assert not told["shown"] and "not shown to be run as its owner would" in agreement.told(told)


# -- a head that looks for padding -------------------------------------------------------------------------------


def last_word(folder: Path, pad: int | None) -> None:
    """A Llama that classifies by its last token, whose config.json names another padding token than its tokenizer."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tiny_models.VOCABULARY), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=64, max_position_embeddings=64, pad_token_id=0,
        id2label={0: "negative", 1: "positive"},
    )  # fmt: skip
    tiny_models.save(transformers.LlamaForSequenceClassification(config), folder)
    said = json.loads((folder / "config.json").read_text())
    said["pad_token_id"] = pad
    (folder / "config.json").write_text(json.dumps(said))


@pytest.mark.parametrize("pad", [5, None])
def test_a_head_is_told_what_the_tokenizer_pads_with(pad: int | None, tmp_path: Path) -> None:
    last_word(tmp_path / "model", pad)
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    assert model.config()["pad_token_id"] == 0
    note = f"config.json names the padding token {pad}, the tokenizer 0: the tokenizer's is taken"
    assert note in model.understood["notes"]
    dense = made(model, tmp_path)
    assert agreed(model, dense, tmp_path)["shown"]


def test_a_head_that_reads_padding_is_refused(tmp_path: Path) -> None:
    last_word(tmp_path / "model", 5)
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    wrong = replace(model, configuration={**model.configuration, "pad_token_id": 5})
    with pytest.raises(PressbenchError, match=r"does not run it as its owner does: .*pad_token_id 5"):
        agreed(wrong, made(wrong, tmp_path), tmp_path)


# -- text that is written ----------------------------------------------------------------------------------------


def test_a_text_that_stops_early_is_another_text(tmp_path: Path) -> None:
    """The fault: another token is taken for the end than the model's own."""
    tiny_models.translator(tmp_path / "model")
    lines(tmp_path, ("source", "target"))
    model = understood(tmp_path, model="model", data="rows.jsonl", task="translation")
    dense = made(model, tmp_path)
    run = stages.owners_run({}, model, tmp_path / "cache", dense.entry, select("cpu"))
    assert run is not None
    early = {**model.task.settings, "ends": [int(run.tokens[0][1])]}
    with pytest.raises(PressbenchError, match=r"[1-8] of 8 answers are others than those of T5.*generate"):
        agreed(replace(model, task=replace(model.task, settings=early)), dense, tmp_path)


def test_tokens_that_a_folder_forces_are_said(tmp_path: Path) -> None:
    tiny_models.translator(tmp_path / "model")
    lines(tmp_path, ("source", "target"))
    path = tmp_path / "model" / "generation_config.json"
    said = json.loads(path.read_text()) | {"forced_bos_token_id": 7, "forced_eos_token_id": 3}
    path.write_text(json.dumps(said))
    model = understood(tmp_path, model="model", data="rows.jsonl", task="translation")
    dense = made(model, tmp_path)
    run = stages.owners_run({}, model, tmp_path / "cache", dense.entry, select("cpu"))
    assert run is not None and all(one[0] == 7 and one[-1] == 3 for one in run.tokens)
    assert agreed(model, dense, tmp_path)["shown"]
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        less = {**model.task.settings, "rules": [rule for rule in model.task.settings["rules"] if rule[0] != name]}
        without = replace(model, task=replace(model.task, settings=less))
        with pytest.raises(PressbenchError, match=r"8 of 8 answers .*forced_"):
            agreed(without, dense, tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"guidance_scale": 2.0}, "guidance_scale = 2.0, which is not followed here"),
        ({"bad_words_ids": [5]}, "generation_config.json: "),
        ({"min_length": -3}, "generation_config.json: .*min_length"),
        ({"forced_bos_token_id": "de"}, "forced_bos_token_id holds 'de'"),
    ],
)
def test_settings_that_cannot_be_followed_are_one_line(said: dict[str, Any], told: str, tmp_path: Path) -> None:
    tiny_models.translator(tmp_path / "model")
    lines(tmp_path, ("source", "target"))
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(ModelError, match=f"model: generation_config.json: .*|{told}") as error:
        understood(tmp_path, model="model", data="rows.jsonl", task="translation")
    assert re.search(told, str(error.value)) and "\n" not in str(error.value)


def test_the_prefix_that_a_folder_names_is_put_before_each_text(tmp_path: Path) -> None:
    tiny_models.translator(tmp_path / "model")
    lines(tmp_path, ("source", "target"))
    path = tmp_path / "model" / "config.json"
    said = json.loads(path.read_text()) | {"task_specific_params": {"translation": {"prefix": "the film : "}}}
    path.write_text(json.dumps(said))
    model = understood(tmp_path, model="model", data="rows.jsonl", task="translation")
    assert "'the film : ' is put before each text, as config.json says" in model.understood["notes"]
    dense = made(model, tmp_path)
    assert agreed(model, dense, tmp_path)["shown"]
    own = understood(tmp_path, model="model", data="rows.jsonl", task="translation", prefix="story : ")
    assert not any("put before" in note for note in own.understood["notes"])


@pytest.mark.parametrize(
    ("problem", "task", "line"),
    [
        ("multi_label_classification", "text-classification", "do not exclude each other; the task is multi-label-"),
        ("regression", None, "problem_type regression: its outputs are no classes, and not scored here"),
        ("single_label_classification", "multi-label-classification", "each label is decided on its own under multi_"),
    ],
)
def test_a_head_of_another_problem_than_the_task_is_refused(
    tmp_path: Path, problem: str, task: str | None, line: str
) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    said = json.loads((tmp_path / "model" / "config.json").read_text()) | {"problem_type": problem}
    (tmp_path / "model" / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=line):
        understood(tmp_path, model="model", data="reviews.csv", **({"task": task} if task else {}))


def test_a_picture_is_turned_as_the_camera_was_held() -> None:
    from PIL import Image

    from benchmarks.zoo.own.kinds.image_classification import opened

    picture = Image.new("RGB", (4, 2), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = picture.getexif()
    exif[274] = 6  # turned by a quarter
    out = io.BytesIO()
    picture.save(out, "PNG", exif=exif)
    turned = opened(out.getvalue(), "here")
    assert turned.size == (2, 4) and turned.getpixel((1, 0)) == (255, 255, 255)


def test_references_that_a_metric_cannot_see_are_refused(tmp_path: Path) -> None:
    tiny_models.translator(tmp_path / "model")
    rows = [{"text": text, "summary": "это кот"} for text, _ in reviews(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    said = {"model": "model", "data": "rows.jsonl", "task": "summarization"}
    with pytest.raises(PressbenchError, match=r'ROUGE-L keeps a–z and digits alone: 0% .* say metric = "chrf"'):
        understood(tmp_path, **said)
    assert understood(tmp_path, metric="chrf", **said).task.settings["metric"] == "chrf"


def test_an_answer_is_scored_as_it_is_asked(tmp_path: Path) -> None:
    """What the agreement compares is what quality is measured on."""
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv")
    dense = made(model, tmp_path)
    here = Here()
    here.call(stages.load, dense.artifact.directory, select("cpu"), timeout=60.0)
    answers = stages.answer(here.state, model.task.quality, dense.inputs_path, 16, progress=no_progress)
    assert (stages.sketches(here.state, dense.inputs_path, range(8), 16) == answers["sketch"][:8]).all()
