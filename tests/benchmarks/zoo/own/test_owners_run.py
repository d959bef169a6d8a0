"""A model of one's own is run as its owner runs it, or refused: on folders that once were not."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers

from benchmarks.cache import Cache
from benchmarks.hardware import select
from benchmarks.measure import stages
from benchmarks.preparation import agreement
from benchmarks.zoo.dense import Dense, prepare_dense, read_examples, write_examples
from benchmarks.zoo.own import checkpoint
from benchmarks.zoo.own.checkpoint import ModelError
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import understand
from compressors.interface import Examples, PressbenchError, no_progress

sys.path.append(str(Path(__file__).parents[3]))
import tiny_models
from tiny_models import reviews, write_csv


class Here:
    """What a worker does, in this process."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def call(self, function: Any, *arguments: Any, timeout: float, progress: Any = None) -> Any:
        more = {"progress": progress} if progress else {}
        return function(self.state, *arguments, **more)


def understood(folder: Path, **values: Any) -> OwnModel:
    found: OwnModel = understand(declare("own", "zoo.toml: [own]", folder, values), Cache(folder / "cache"))
    return found


def made(model: OwnModel, folder: Path) -> Dense:
    (folder / "dense").mkdir()
    prepare_dense(model, Cache(folder / "cache"), select("cpu"), no_progress, folder / "dense")
    (folder / "dense" / "seal.json").write_text('{"files": {}}')
    return Dense(folder / "dense")


def agreed(model: OwnModel, dense: Dense, folder: Path) -> dict[str, Any]:
    return agreement.compare(Here(), Here(), model, dense, folder / "cache", select("cpu"), 60.0)  # type: ignore[arg-type]


def texts(folder: Path, names: tuple[str, str] = ("negative", "positive")) -> None:
    write_csv(folder / "reviews.csv", ("text", "label"), [[text, names[label]] for text, label in reviews(60)])


def lines(folder: Path, columns: tuple[str, ...]) -> None:
    rows = [text for text, _ in reviews(120 * len(columns))]
    found = [dict(zip(columns, rows[i::120], strict=True)) for i in range(120)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], dict[str, Any]]] = {
    "text-classification": (tiny_models.classifier, texts, {"data": "reviews.csv"}),
    "causal-lm": (tiny_models.writer, lambda folder: lines(folder, ("text",)), {"data": "rows.jsonl"}),
    "embedding-retrieval": (
        tiny_models.embedder, lambda folder: lines(folder, ("query", "document")), {"data": "rows.jsonl"},
    ),
    "image-classification": (
        tiny_models.image_model, lambda folder: tiny_models.image_folder(folder / "pictures"), {"data": "pictures"},
    ),
    "translation": (
        tiny_models.translator, lambda folder: lines(folder, ("source", "target")),
        {"data": "rows.jsonl", "task": "translation"},
    ),
}  # fmt: skip


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


# -- weights -----------------------------------------------------------------------------------------------------


def test_of_two_sets_of_weights_the_safe_one_is_read_and_the_other_named(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    stale = transformers.BertForSequenceClassification(tiny_models.bert_config())
    torch.save(stale.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    for allowed in (False, True):
        model = understood(tmp_path, model="model", data="reviews.csv", allow_pickle=allowed)
        note = "weights are read from model.safetensors; left alone: pytorch_model.bin"
        assert note in model.understood["notes"]
        folder = tmp_path / str(allowed)
        folder.mkdir()
        read = load_file(tmp_path / "model" / "model.safetensors")["classifier.weight"]
        (folder / "dense").mkdir()
        prepare_dense(model, Cache(tmp_path / "cache"), select("cpu"), no_progress, folder / "dense")
        stored = load_file(folder / "dense" / "artifact" / "model.safetensors")["classifier.weight"]
        assert torch.equal(stored, read)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adapter_config.json", "an adapter lies beside the model"),
        ("adapter_model.safetensors", r"an adapter lies beside the model \(adapter_model.safetensors\)"),
        ("adapter_model.bin", "an adapter lies beside the model"),
        ("style-lora.safetensors", "an adapter lies beside the model"),
        ("hf_quant_config.json", r"it is quantized already \(hf_quant_config.json\)"),
    ],
)
def test_what_lies_beside_a_model_and_changes_it_is_refused(name: str, told: str, tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(ModelError, match=told):
        understood(tmp_path, model="model", data="reviews.csv")


@pytest.mark.parametrize(
    "name", ["consolidated.safetensors", "model-00001-of-00002.safetensors", "model.fp16.safetensors", "tf_model.h5"]
)
def test_weights_that_are_left_alone_are_named(name: str, tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    save_file({"classifier.weight": torch.ones(2, 32)}, tmp_path / "model" / name)
    notes = understood(tmp_path, model="model", data="reviews.csv").understood["notes"]
    assert f"weights are read from model.safetensors; left alone: {name}" in notes


def stored(folder: Path, more: dict[str, torch.Tensor] | None = None, without: str = "?", narrow: str = "?") -> None:
    """Change a model's file: tensors that it has more, those without that are not, those that are narrow float8."""
    tensors = {**load_file(folder / "model.safetensors"), **(more or {})}
    kept = {name: value for name, value in tensors.items() if without not in name}
    kept = {name: value.to(torch.float8_e4m3fn) if narrow in name else value for name, value in kept.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_scales_and_narrow_weights_are_no_dense_models(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    stored(tmp_path / "model", {"bert.pooler.dense.weight_scale": torch.ones(1)})
    with pytest.raises(ModelError, match=r"quantized already: .* has 1 tensors such as bert.pooler.dense.weight_scale"):
        understood(tmp_path, model="model", data="reviews.csv")
    tiny_models.classifier(tmp_path / "model")
    stored(tmp_path / "model", narrow="query.weight")
    with pytest.raises(ModelError, match=r"quantized already: \S*query.weight of \S+ is stored in 8 bits"):
        understood(tmp_path, model="model", data="reviews.csv")


def test_a_tensor_that_nobody_takes_is_refused_and_one_of_another_head_is_not(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    stored(tmp_path / "model", {"cls.predictions.bias": torch.ones(3), "bert.embeddings.position_ids": torch.ones(64)})
    model = understood(tmp_path, model="model", data="reviews.csv")
    model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)
    deeper = "bert.encoder.layer.7.output.dense.bias"
    stored(tmp_path / "model", {deeper: torch.ones(32)})
    model = understood(tmp_path, model="model", data="reviews.csv")
    with pytest.raises(ModelError, match=f"1 tensors of its weights are not taken by .*, the first {deeper}"):
        model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.query.lora_A.weight",
        "bert.encoder.layer.0.attention.self.query.parametrizations.weight.original0",
        "bert.encoder.adapter.down.weight",
        "bert.prompt.weight",
        "weight_norm_g",
        "classifier.1.weight",
    ],
)
def test_a_tensor_of_what_the_class_has_no_part_for_is_refused(name: str, tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    stored(tmp_path / "model", {name: torch.ones(4, 32)})
    with pytest.raises(ModelError, match=f"1 tensors of its weights are not taken by .*, the first {name}"):
        model = understood(tmp_path, model="model", data="reviews.csv")
        model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)


def test_buffers_that_old_versions_saved_are_no_weights(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    stored(tmp_path / "model", {"bert.embeddings.token_type_ids": torch.zeros(1, 64)})
    model = understood(tmp_path, model="model", data="reviews.csv")
    model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)


def test_a_part_that_the_task_does_not_use_may_be_missing_and_no_other(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    stored(tmp_path / "model", without="pooler")
    model = understood(tmp_path, model="model", data="rows.jsonl")
    trained = model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)
    assert not any(value.any() for name, value in trained.state_dict().items() if "pooler" in name)
    stored(tmp_path / "model", without="layer.1.output.dense")
    model = understood(tmp_path, model="model", data="rows.jsonl")
    with pytest.raises(ModelError, match=r"not in its weights, the first encoder\.layer\.1\.output\.dense\.bias"):
        model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)


# -- what a folder says of its own use ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "said", "told"),
    [
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}, "compares by 'dot', which is not taken"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query", "prompts": {"query": "query: "}},
            "puts the prompt 'query: ' before each text",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": None, "prompts": {"query": "", "passage": "passage: "}},
            "puts the prompt 'passage: ' before each document",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": None, "prompts": {"query": "query: ", "document": ""}},
            "puts the prompt 'query: ' before each query",
        ),
        (
            "modules.json",
            [
                {"type": f"sentence_transformers.models.{kind}", "path": path}
                for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"))
            ],
            "the model is Transformer, Pooling, Dense: Transformer, Pooling and Normalize alone",
        ),
        (
            "modules.json",
            [
                {"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"},
                {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            ],
            "its modules are in '0_Transformer' and '1_Pooling': other folders",
        ),
        ("modules.json", {"no": "list"}, "not readable as a list of modules"),
        ("1_Pooling/config.json", {"pooling_mode_lasttoken": True}, "pools by lasttoken: mean and cls alone"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pools by cls_token, mean_tokens",
        ),
    ],
)
def test_what_is_not_followed_is_refused(file: str, said: Any, told: str, tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    path = tmp_path / "model" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(said))
    with pytest.raises(ModelError, match=told):
        understood(tmp_path, model="model", data="rows.jsonl")


def beside(folder: Path, files: dict[str, Any]) -> None:
    for name, said in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(said))


def test_the_pooling_is_the_one_that_the_modules_name(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    modules = [("Transformer", ""), ("Pooling", "7_Pooling"), ("Normalize", "8_Normalize")]
    files = {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules],
        "7_Pooling/config.json": {"pooling_mode_cls_token": True},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }
    beside(tmp_path / "model", files)
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert model.task.settings["pooling"] == "cls"


def test_the_length_and_the_small_letters_that_a_folder_says_are_followed(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")  # its tokenizer makes small letters itself
    lines(tmp_path, ("query", "document"))
    beside(tmp_path / "model", {"sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": True}})
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert model.task.settings["tokens"] == 9
    assert any("longer than 9 tokens and are cut" in note for note in model.understood["notes"])
    made = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    made.normalizer = normalizers.Strip()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    with pytest.raises(ModelError, match="puts texts into small letters, which its tokenizer does not"):
        understood(tmp_path, model="model", data="rows.jsonl")


def test_documents_are_asked_too(tmp_path: Path) -> None:
    """The fault that it is for: the second half of the inputs is prepared in another way than the first."""
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    model = understood(tmp_path, model="model", data="rows.jsonl")
    dense = made(model, tmp_path)
    right = read_examples(dense.inputs_path)
    ids = right.inputs["input_ids"].clone()
    ids[len(ids) // 2 :, 1:] = ids[len(ids) // 2 :, :-1]  # as with a word put before each
    write_examples(Examples({**right.inputs, "input_ids": ids}, right.labels), dense.inputs_path)
    with pytest.raises(PressbenchError, match="8 of 16 answers are others"):
        agreed(model, dense, tmp_path)


# -- how long ----------------------------------------------------------------------------------------------------

BEHIND_PADDING = ("Roberta", "Data2VecText", "RobertaPreLayerNorm", "XLMRobertaXL", "Camembert", "Bert")


@pytest.mark.parametrize("kind", BEHIND_PADDING)
@pytest.mark.parametrize("pad", [1, 3])
def test_a_model_takes_as_many_tokens_as_it_has_places_for(kind: str, pad: int, tmp_path: Path) -> None:
    """And not one more: read by transformers' own class."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=20, pad_token_id=pad,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path / "model")
    longest = checkpoint.look(tmp_path / "model", "model", allow_pickle=False).longest
    assert longest == (20 if kind == "Bert" else 19 - pad)
    model(input_ids=torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


def test_a_tokenizers_own_limit_is_kept(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    said = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text()) | {"model_max_length": 11}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(said))
    model = understood(tmp_path, model="model", data="reviews.csv")
    assert model.task.settings["tokens"] == 11
    assert agreed(model, made(model, tmp_path), tmp_path)["shown"]
    assert understood(tmp_path, model="model", data="reviews.csv", tokens=20).task.settings["tokens"] == 20


# -- text that is written ----------------------------------------------------------------------------------------


def test_a_text_that_stops_early_is_another_text(tmp_path: Path) -> None:
    """The fault: another token is taken for the end than the model's own."""
    tiny_models.translator(tmp_path / "model")
    lines(tmp_path, ("source", "target"))
    model = understood(tmp_path, model="model", data="rows.jsonl", task="translation")
    dense = made(model, tmp_path)
    run = stages.owners_run({}, model, tmp_path / "cache", dense.entry, select("cpu"))
    assert run is not None
    early = {**model.task.settings, "end": int(run.tokens[0][1])}
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
    for place in ("first", "last"):
        without = replace(model, task=replace(model.task, settings={**model.task.settings, place: None}))
        with pytest.raises(PressbenchError, match=r"8 of 8 answers .*forced_"):
            agreed(without, dense, tmp_path)


def test_labels_that_do_not_exclude_each_other_are_refused(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    said = json.loads((tmp_path / "model" / "config.json").read_text()) | {"problem_type": "multi_label_classification"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="problem_type multi_label_classification: its outputs do not exclude"):
        understood(tmp_path, model="model", data="reviews.csv")


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
