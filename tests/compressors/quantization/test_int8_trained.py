"""int8 in torch, trained: what is trained is what is stored and computed, the gradient of both steps, the guarantee."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.interface import Context, Hardware, PressbenchError, Unsupported
from compressors.quantization import int8_trained
from compressors.quantization.int8_kernels import StaticInt8Linear
from compressors.quantization.int8_torch import Int8StaticTorch
from compressors.quantization.int8_trained import CodedValues, Int8TrainedTorch

FP32 = Hardware("cpu", "cpu-avx2", frozenset({"avx2"}))


def static_layers(model: nn.Module) -> dict[str, StaticInt8Linear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, StaticInt8Linear)}


@pytest.mark.parametrize("rows", [1, 5])
def test_the_gradient_of_each_step_is_the_papers(rows: int) -> None:
    """Esser et al. 2020, by hand: for one step of all values, as activations have, and for one a row."""
    draw = torch.Generator().manual_seed(rows)
    first, low, high, width = 0.1 + torch.rand(rows, 1, generator=draw), -3, 4, 8
    values = 2 * torch.randn(5, width, generator=draw)
    upstream = torch.randn(5, width, generator=draw)
    coded, given = CodedValues(first, low, high, width), values.clone().requires_grad_()
    (coded(given) * upstream).sum().backward()
    wanted = [0.0] * rows
    for row in range(5):
        step = float(first[row % rows])
        for v, g, moved in zip(values[row].tolist(), upstream[row].tolist(), given.grad[row].tolist(), strict=True):
            scaled = v / step
            of_step = low if scaled <= low else high if scaled >= high else round(scaled) - scaled
            wanted[row % rows] += g * of_step / math.sqrt(width * high) * step * 10.0  # by its logarithm, over SPEED
            assert moved == pytest.approx(g if low < scaled < high else 0.0, abs=1e-6)
    assert coded.growth.grad[:, 0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_what_is_trained_is_what_is_stored(tiny: conformance.Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model as it was while it was trained, its steps moved, answers as the one that is stored."""
    method, answers = Int8TrainedTorch(embeddings=False), list[Tensor]()
    monkeypatch.setattr(int8_trained, "nearest_to_dense", lambda tried, _context: ("trained", {}))

    def moved(model: nn.Module, _context: Context, **_more: object) -> None:
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, values in model.named_parameters():
                if name.endswith("growth"):
                    values.uniform_(-0.03, 0.03, generator=draw)
                elif name.endswith("original"):
                    values.mul_(1 + 0.1 * torch.randn(values.shape, generator=draw))
            answers.append(model(**tiny.examples.inputs).logits)

    monkeypatch.setattr(int8_trained, "recover", moved)
    made = method.compress(tiny.dense.model(), dataclasses.replace(tiny.context(method), hardware=FP32)).model
    with torch.no_grad():
        found, dense = made(**tiny.examples.inputs).logits, tiny.dense.model()(**tiny.examples.inputs).logits
    real = tiny.examples.inputs.get("attention_mask") if found.dim() == 3 else None
    rows = slice(None) if real is None else real.bool()
    (while_training,) = answers
    # A value midway between two points may go the other way: one divides by the step, the other multiplies. A step that
    # is not the learnt one moves all that is coded with it by up to 3 %.
    off, moved_by = ((found - other)[rows].square().mean().sqrt() for other in (while_training, dense))
    assert off < max(5e-4, moved_by / 100) and moved_by > 20 * off


def test_training_moves_every_step_and_what_is_not_quantized(tiny_bert: conformance.Subject) -> None:
    method = Int8TrainedTorch(epochs=0.5, learning_rate=1e-3)
    context = dataclasses.replace(tiny_bert.context(method), hardware=FP32)
    static, model = Int8StaticTorch(), tiny_bert.dense.model()
    before = static_layers(static.compress(tiny_bert.dense.model(), context).model)
    layers = {name: surgery.get(model, name) for name in before}
    norm = model.get_parameter("bert.encoder.layer.0.output.LayerNorm.weight").detach().clone()
    table = model.get_parameter("bert.embeddings.word_embeddings.weight").detach().clone()
    torch.manual_seed(0)
    after = method._learnt(model, layers, before, context)
    assert after.keys() == before.keys()
    for name, layer in after.items():
        was = before[name]
        assert isinstance(layer, StaticInt8Linear)
        assert not torch.equal(layer.step, was.step) and not torch.equal(layer.scale, was.scale), name
        assert not torch.equal(layer.weight, was.weight) and torch.equal(layer.zero, was.zero), name
        assert 0.5 < float(layer.step / was.step) < 2 and int(layer.weight.abs().max()) <= 63, name
        assert layer.bias is surgery.get(model, name).bias
    assert not torch.equal(model.get_parameter("bert.encoder.layer.0.output.LayerNorm.weight"), norm)
    assert torch.equal(model.get_parameter("bert.embeddings.word_embeddings.weight"), table)
    hooked = [m for m in model.modules() if m._forward_pre_hooks or isinstance(m, CodedValues)]
    assert not hooked and all(type(surgery.get(model, name)) is nn.Linear for name in after)


def test_trained_is_nearer_the_dense_model_than_static(tmp_path: Path) -> None:
    """Where a range that the data reaches loses much, from the files, on all examples, in float64."""
    tiny, found = conformance.subject("llama"), {}
    fields = {"percentile": 90.0}  # a fifth of what layers are given lies beyond their ranges
    for method in (Int8StaticTorch(**fields), Int8TrainedTorch(**fields, learning_rate=1e-3)):
        context = dataclasses.replace(tiny.context(method), hardware=FP32)
        made = build([method], tiny.dense, context, tmp_path / method.name)
        real = tiny.examples.inputs["attention_mask"].bool()
        with torch.no_grad():
            wanted, answers = (
                m(**tiny.examples.inputs).logits[real].double().log_softmax(-1)
                for m in (tiny.dense.model(), made.model())
            )
        found[method.name] = float((wanted.exp() * (wanted - answers)).sum(-1).mean())
    structure = made.recipe[-1]["structure"]
    assert structure["kept"] == "trained"
    assert structure["divergence"]["trained"] < structure["divergence"]["untrained"]
    assert found["int8-trained-torch"] < 0.8 * found["int8-static-torch"]


def test_training_that_goes_wrong_is_not_kept(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    files = {}
    for method in (Int8StaticTorch(), Int8TrainedTorch(epochs=0.1, learning_rate=1.0)):
        context = dataclasses.replace(tiny_bert.context(method), hardware=FP32)
        made = build([method], tiny_bert.dense, context, tmp_path / method.name)
        files[method.name] = load_file(made.directory / "model.safetensors")
    assert made.recipe[-1]["structure"]["kept"] == "untrained"
    static, kept = files.values()
    assert static.keys() == kept.keys()
    assert all(np.array_equal(values, kept[name]) for name, values in static.items())


def test_padding_has_no_say(tiny_bert: conformance.Subject) -> None:
    method, examples = Int8TrainedTorch(epochs=0.1), tiny_bert.examples
    padded = examples.inputs["attention_mask"] == 0
    other = {**examples.inputs, "input_ids": examples.inputs["input_ids"].masked_fill(padded, 5)}
    context = dataclasses.replace(tiny_bert.context(method), hardware=FP32)
    before = static_layers(Int8StaticTorch().compress(tiny_bert.dense.model(), context).model)
    steps = []
    for training in (examples, dataclasses.replace(examples, inputs=other)):
        model = tiny_bert.dense.model()
        layers = {name: surgery.get(model, name) for name in before}
        found = method._learnt(model, layers, before, dataclasses.replace(context, training=training))
        steps.append(torch.stack([one.step for one in found.values() if isinstance(one, StaticInt8Linear)]))
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs = 0: must be above 0"),
        ({"epochs": float("nan")}, "epochs = nan"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
        ({"percentile": 50}, "percentile = 50"),
    ],
)
def test_a_wrong_parameter_is_named(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Int8TrainedTorch(**fields)  # type: ignore[arg-type]


def test_what_cannot_be_trained_is_told(tiny_bert: conformance.Subject) -> None:
    context = tiny_bert.context(Int8TrainedTorch())
    with pytest.raises(Unsupported, match=r"int8-trained-torch: its weights are torch\.bfloat16"):
        Int8TrainedTorch().compress(surgery.cast(tiny_bert.dense.model(), torch.bfloat16), context)
    few = dataclasses.replace(context, training=tiny_bert.examples[:7])
    with pytest.raises(PressbenchError, match="int8-trained-torch: 7 training examples are too few"):
        Int8TrainedTorch().compress(tiny_bert.dense.model(), few)
