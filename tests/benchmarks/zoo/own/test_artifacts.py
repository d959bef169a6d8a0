"""What is to stand in for a model of one's own: from the hub or a folder, in its own tokens or refused by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hub_server import HubServer

from benchmarks.cache import Cache
from benchmarks.matrix import artifacts
from benchmarks.matrix.artifacts import GivenArtifact, by_options
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.zoo.own import hub_sources
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.workload import Workload
from compressors import registry
from compressors.interface import Hardware, PressbenchError

sys.path.append(str(Path(__file__).parent))
from own_folders import texts, tiny_models, understood

CPU = Hardware("cpu", "cpu-other")
WORDS = (*tiny_models.SPECIAL, *reversed(tiny_models.VOCABULARY[len(tiny_models.SPECIAL) :]), "more")


def student(folder: Path, labels: tuple[str, ...] = ("negative", "positive")) -> Path:
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=48,
        id2label=dict(enumerate(labels)), label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip
    return tiny_models.save(transformers.DistilBertForSequenceClassification(config), folder, WORDS)


@pytest.fixture
def dense(tmp_path: Path) -> OwnModel:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    return understood(tmp_path, model="model", data="reviews.csv")


def named(model: Any, text: str, at: Path) -> GivenArtifact:
    (found,) = by_options([text], [model], at, Cache(at / "cache"))[model.name].values()
    return found


def test_a_folder_is_asked_the_same_rows_in_its_own_tokens(tmp_path: Path, dense: OwnModel) -> None:
    student(tmp_path / "student")
    found = named(dense, "student", tmp_path)
    asked = found.asked
    assert isinstance(asked, OwnModel) and asked.stands_in == dense.name
    cache = Cache(tmp_path / "cache")
    rows = dense.task.load(cache)["test"]
    ours, theirs = dense.encode(rows, cache), asked.encode(rows, cache)
    assert torch.equal(ours.labels, theirs.labels) if ours.labels is not None and theirs.labels is not None else False
    read = tiny_models.tokenizer(WORDS)
    mask = theirs.inputs["attention_mask"][0].bool()
    assert read(rows["text"][0])["input_ids"] == theirs.inputs["input_ids"][0][mask].tolist()
    assert ours.inputs["input_ids"][0].tolist() != theirs.inputs["input_ids"][0].tolist()


def test_one_of_the_hub_is_fetched_at_its_commit(tmp_path: Path, hub: HubServer, dense: OwnModel) -> None:
    student(hub.root / "models" / "acme" / "student")
    found = named(dense, "small=acme/student@main", tmp_path)
    assert "DistilBertForSequenceClassification" in found.told[0] and "of the hub" in found.told[0]
    assert found.asked is not None and found.given.sha256
    assert registry.unsupported_reason(found.given, dense.spec(), CPU) is None
    with pytest.raises(PressbenchError, match=r"artifact student: acme/students: no such file or folder in .*; and "):
        named(dense, "student=acme/students", tmp_path)


def test_a_hub_that_does_not_answer_makes_the_case_unsupported(
    tmp_path: Path, hub: HubServer, dense: OwnModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_sources, "PATIENCE", 0.5)
    hub.fault = "silent"
    found = named(dense, "small=acme/student", tmp_path)
    assert found.told[0].startswith("out of reach: hub: ")
    reason = registry.unsupported_reason(found.given, dense.spec(), CPU)
    assert reason is not None and "hub: " in reason


def killed(state: dict[str, Any], *_: Any) -> None:
    """What a file does that finds a hole in whoever reads it."""
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_folder_that_ends_its_reader_ends_no_run(
    tmp_path: Path, dense: OwnModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    student(tmp_path / "student")
    monkeypatch.setattr(artifacts, "read_folder", killed)
    with pytest.raises(PressbenchError, match=r"^--artifact student: student: damaged, .*was ended by SIGSEGV$"):
        named(dense, "student", tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_files_nested_without_end_are_told_in_a_line(tmp_path: Path, dense: OwnModel, name: str) -> None:
    student(tmp_path / "student")
    (tmp_path / "student" / name).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(PressbenchError, match=r"^--artifact student: .*student") as error:
        named(dense, "student", tmp_path)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("positive", "negative"), "it calls output 0 'positive', model 'negative': its outputs are in another order"),
        (("bad", "good"), "it calls output 0 'bad', model 'negative': it was trained for other labels"),
        (("a", "b", "c"), "it has 3 outputs, model 2"),
    ],
)
def test_outputs_that_mean_something_else_are_refused(
    tmp_path: Path, dense: OwnModel, labels: tuple[str, ...], told: str
) -> None:
    student(tmp_path / "student", labels)
    with pytest.raises(PressbenchError) as error:
        named(dense, "student", tmp_path)
    assert str(error.value) == f"--artifact student: student: {told}"


def test_labels_are_compared_by_number_whatever_the_order_in_the_file(tmp_path: Path, dense: OwnModel) -> None:
    student(tmp_path / "student")
    path = tmp_path / "student" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "id2label": {"1": "positive", "0": "negative"}}))
    assert named(dense, "student", tmp_path).asked is not None


def test_a_dense_model_without_names_means_those_of_its_data(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model", labels=None)
    texts(tmp_path)
    model = understood(tmp_path, model="model", data="reviews.csv", labels=("negative", "positive"))
    student(tmp_path / "student", ("positive", "negative"))
    with pytest.raises(PressbenchError, match="in another order"):
        named(model, "student", tmp_path)
    shutil.rmtree(tmp_path / "student")
    student(tmp_path / "student")
    assert named(model, "student", tmp_path).asked is not None


def test_a_workload_is_the_same_texts_in_its_own_tokens(tmp_path: Path, dense: OwnModel) -> None:
    """Another length of its own changes nothing but what it cuts."""
    student(tmp_path / "student")
    same = named(dense, "student", tmp_path).asked
    assert same is not None and same.tokens_made == 1.0, "one token a word, both"
    case = Case("speed", "x", registry.build("given"), dense, CPU, Workload(8, 16), Target(), same)
    assert case.own_workload(Workload(8, 16)) == Workload(8, 16)
    double = replace(same, tokens_made=2.0)
    most = double.task.settings["tokens"]
    assert replace(case, asked=double).own_workload(Workload(8, 5)) == Workload(8, 10)
    assert replace(case, asked=double).own_workload(Workload(8, most)) == Workload(8, most), "as it cuts them"
    assert replace(case, asked=None).own_workload(Workload(8, 16)) == Workload(8, 16)


def test_another_head_and_an_adapter_are_refused(tmp_path: Path, dense: OwnModel) -> None:
    tiny_models.embedder(tmp_path / "embedder")
    with pytest.raises(PressbenchError, match="BertModel has no head for text-classification"):
        named(dense, "embedder", tmp_path)
    student(tmp_path / "student")
    (tmp_path / "student" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(PressbenchError, match="adapter"):
        named(dense, "student", tmp_path)


def test_tags_of_two_tokenizers_are_not_compared(tmp_path: Path) -> None:
    tiny_models.tagger(tmp_path / "model")
    kind = {**dict.fromkeys(tiny_models.GOOD, "B-GOOD"), **dict.fromkeys(tiny_models.BAD, "B-BAD")}
    rows = [text.split() for text, _ in tiny_models.reviews(120)]
    lines = [json.dumps({"tokens": words, "ner_tags": [kind.get(word, "O") for word in words]}) for words in rows]
    (tmp_path / "tagged.jsonl").write_text("\n".join(lines))
    model = understood(tmp_path, model="model", data="tagged.jsonl")
    shutil.copytree(tmp_path / "model", tmp_path / "same")
    assert named(model, "same", tmp_path).asked is not None
    shutil.copytree(tmp_path / "model", tmp_path / "other")
    tiny_models.tokenizer(WORDS[:-1]).save_pretrained(tmp_path / "other")
    with pytest.raises(PressbenchError, match=r"it has another tokenizer than model, .* not comparable"):
        named(model, "other", tmp_path)
