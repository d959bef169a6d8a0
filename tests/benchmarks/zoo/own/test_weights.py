"""The weights of a folder: which are read, which are named, which are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from benchmarks.cache import Cache
from benchmarks.hardware import select
from benchmarks.zoo.dense import prepare_dense
from benchmarks.zoo.own.checkpoint import ModelError
from compressors.interface import Examples, PressbenchError, no_progress

sys.path.append(str(Path(__file__).parent))
from own_folders import lines, texts, tiny_models, understood


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
        ("hf_quant_config.json", r"it is quantized already \(hf_quant_config.json\), and config.json does not say"),
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
    with pytest.raises(PressbenchError, match=f"1 tensors of its weights are not taken by .*, the first {deeper}"):
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
    with pytest.raises(PressbenchError, match=f"1 tensors of its weights are not taken by .*, the first {name}"):
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
    with pytest.raises(PressbenchError, match=r"not in its weights, the first encoder\.layer\.1\.output\.dense\.bias"):
        model.train(Examples({}), Cache(tmp_path / "cache"), select("cpu"), no_progress)
