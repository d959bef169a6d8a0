"""Quantization-aware training: the gradient of a step against the paper, what is stored, the guarantee."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tiny_architectures import make
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.interface import PressbenchError, Unsupported
from compressors.quantization import trained
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.learnt_step import SPEED, on_learnt_step
from compressors.quantization.packed import PackedWeight
from compressors.quantization.trained import LearntSteps, TrainQuantized

SHORT = {"group_size": 16, "epochs": 0.5}


def packed_of(model: nn.Module) -> dict[str, PackedWeight]:
    return {n.removesuffix(".weight"): m for n, m in model.named_modules() if isinstance(m, PackedWeight)}


# -- the gradient ----------------------------------------------------------------------------------


def gradients(weight: Tensor, step: float, low: int, high: int, upstream: Tensor) -> tuple[Tensor, float]:
    """Of the weight and of the step, in one group of all weights."""
    w, s = weight.clone().requires_grad_(), torch.full((1, 1, 1), step, dtype=torch.float64, requires_grad=True)
    ends = (torch.full((1, 1, 1), float(value), dtype=torch.float64) for value in (low, high))
    count = torch.full((1, 1, 1), float(weight.numel()), dtype=torch.float64)
    on_learnt_step(w.view(1, 1, -1), s, *ends, count).flatten().mul(upstream).sum().backward()
    return w.grad, float(s.grad)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("where", ["below", "inside", "above"])
def test_the_gradient_of_a_step_is_the_papers(bits: int, where: str) -> None:
    """Esser et al. 2020: below the range -Q_N, above it Q_P, inside round(v) - v; over sqrt(N Q_P)."""
    low, high, step = 2 ** (bits - 1), 2 ** (bits - 1) - 1, 0.37
    draw = torch.Generator().manual_seed(bits)
    share = torch.rand(10, generator=draw, dtype=torch.float64)
    scaled = {"below": -low - 3 * share, "inside": -low + (low + high) * share, "above": high + 3 * share}[where]
    upstream = torch.randn(10, generator=draw, dtype=torch.float64)
    of_weight, of_step = gradients(scaled * step, step, -low, high, upstream)
    wanted = 0.0
    for v, g in zip(scaled.tolist(), upstream.tolist(), strict=True):
        wanted += g * (-low if v <= -low else high if v >= high else round(v) - v)
    assert of_step == pytest.approx(wanted / math.sqrt(10 * high), rel=1e-9)
    assert torch.equal(of_weight, upstream if where == "inside" else torch.zeros_like(upstream))


def test_the_gradient_of_a_step_is_the_slope_of_what_is_smooth() -> None:
    """With what rounding adds to each weight held, as straight-through means it, the rest can be differentiated."""
    weight = torch.tensor([-9.1, -1.3, 0.2, 0.9, 1.6, 7.7], dtype=torch.float64)
    upstream = torch.tensor([0.5, -1.0, 2.0, 1.5, -0.7, 0.3], dtype=torch.float64)
    step, low, high = 0.6, -4, 3
    added = (weight / step).round() - weight / step

    def held(s: float) -> float:
        return (
            float(((weight / s).clamp(low, high) + added.where((weight / s > low) & (weight / s < high), 0)) @ upstream)
            * s
        )

    slope = (held(step + 1e-6) - held(step - 1e-6)) / 2e-6
    assert gradients(weight, step, low, high, upstream)[1] * math.sqrt(6 * high) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("size,columns", [(8, 24), (8, 20), (24, 24)])
def test_each_group_has_a_step_of_its_own_and_counts_its_weights(size: int, columns: int) -> None:
    weight = torch.randn(3, columns, generator=torch.Generator().manual_seed(1))
    learnt = LearntSteps(LinearGrid(3, size, symmetric=True).lay(weight), columns)
    upstream = torch.randn(3, columns, generator=torch.Generator().manual_seed(2))
    (learnt(weight) * upstream).sum().backward()
    first = learnt.first.clone()
    for row in range(3):
        for group in range(first.shape[1]):
            part = slice(group * size, min((group + 1) * size, columns))
            step = float(first[row, group])
            _, wanted = gradients(weight[row, part].double(), step, -4, 3, upstream[row, part].double())
            # By the logarithm of the step, over the speed.
            assert float(learnt.growth.grad[row, group]) == pytest.approx(wanted * step * SPEED, rel=1e-4)


# -- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", trained.EVEN)
@pytest.mark.parametrize("bits,size,columns", [(4, 8, 24), (3, 7, 24), (2, 24, 24), (8, 16, 20)])
def test_it_begins_at_the_nearest_points(bits: int, size: int, columns: int, grid: str) -> None:
    weight = torch.randn(6, columns, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 1, 6)[:, None]
    weight[3] = weight[3].abs()  # nothing below zero
    kind = TrainQuantized(bits=bits, group_size=size, grid=grid).grid_for(weight)
    learnt = LearntSteps(kind.lay(weight), columns)
    wanted = nearest(kind, weight).dequantize()
    assert torch.equal(learnt(weight), wanted)
    assert torch.equal(learnt.packed(weight).dequantize(), wanted)


def test_what_is_stored_is_what_was_computed_with_and_steps_stay_positive() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(1))
    learnt = LearntSteps(LinearGrid(3, 16).lay(weight), 40)
    with torch.no_grad():
        learnt.growth.copy_(torch.randn(6, 3, generator=torch.Generator().manual_seed(2)) * 0.02)
        learnt.growth[0] = -1e6
        learnt.growth[1] = 1e6
    packed = learnt.packed(weight)
    assert bool((packed.scale > 0).all()) and bool(packed.scale.isfinite().all())
    # A step is stored in fp16: a code may differ where a weight lies midway between two points.
    off = (packed.dequantize() - learnt(weight)).abs() / learnt.step().detach().repeat_interleave(16, 1)[:, :40]
    assert float((off > 0.02).float().mean()) < 0.02


def test_training_moves_weights_steps_and_what_is_not_quantized(tiny_bert: conformance.Subject) -> None:
    compressor = TrainQuantized(bits=3, learning_rate=1e-3, **SHORT)
    model, context = tiny_bert.dense.model(), tiny_bert.context(compressor)
    layers = surgery.block_linears(model)
    weights = {name: surgery.get(model, name).weight.detach().clone() for name in layers}
    norm, table = (
        surgery.get(model, n).weight.detach().clone()
        for n in ("bert.encoder.layer.0.output.LayerNorm", "bert.embeddings.word_embeddings")
    )
    torch.manual_seed(0)
    found = compressor.rounded(model, layers, context)
    for name, weight in weights.items():
        before = nearest(compressor.grid_for(weight), weight)
        assert not torch.equal(found[name].scale, before.scale), name
        assert not torch.equal(found[name].codes, before.codes), name
        assert float((found[name].dequantize() - weight).norm() / weight.norm()) < 0.5, name
        assert type(surgery.get(model, name)) is nn.Linear
    assert not torch.equal(surgery.get(model, "bert.encoder.layer.0.output.LayerNorm").weight, norm)
    assert torch.equal(surgery.get(model, "bert.embeddings.word_embeddings").weight, table)


# -- what is kept ----------------------------------------------------------------------------------


def test_trained_is_nearer_the_dense_model(tiny: conformance.Subject, tmp_path: Path) -> None:
    """On examples that it was not trained on, and as it is on disk; measured anew on all of them, in float64."""
    compressor = TrainQuantized(bits=2, learning_rate=1e-3, **SHORT | {"epochs": 1.0})
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    structure = made.recipe[-1]["structure"]
    assert structure["kept"] == "trained"
    assert structure["divergence"]["trained"] < structure["divergence"]["untrained"]
    dense, plain = tiny.dense.model(), tiny.dense.model()
    with torch.no_grad():
        for name in surgery.block_linears(plain):
            weight = surgery.get(plain, name).weight
            weight.copy_(nearest(LinearGrid(2, 16), weight).dequantize())
        wanted, found, untrained = (
            m.double()(**tiny.examples.inputs).logits.log_softmax(-1) for m in (dense, made.model(), plain)
        )
    kl = [float((wanted.exp() * (wanted - other)).sum()) for other in (found, untrained)]
    assert kl[0] < 0.8 * kl[1]


def test_training_that_goes_wrong_is_not_kept(tiny_bert: conformance.Subject) -> None:
    compressor = TrainQuantized(bits=4, learning_rate=1.0, **SHORT)
    result = compressor.compress(tiny_bert.dense.model(), tiny_bert.context(compressor))
    assert result.structure["kept"] == "untrained"
    assert result.structure["divergence"]["trained"] > result.structure["divergence"]["untrained"]
    dense, left = tiny_bert.dense.model(), dict(result.model.named_parameters())
    for name, packed in packed_of(result.model).items():
        weight = surgery.get(dense, name).weight.detach()
        assert torch.equal(packed.dequantize(), nearest(LinearGrid(4, 16), weight).dequantize())
    assert all(torch.equal(values, dense.get_parameter(name)) for name, values in left.items())


def test_what_decides_was_not_trained_on(tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(trained, "recover", lambda model, context, **_: seen.append(context))
    TrainQuantized(**SHORT).compress(tiny_bert.dense.model(), tiny_bert.context(TrainQuantized()))
    rows = [
        [tuple(row) for row in part.inputs["input_ids"].tolist()] for part in (seen[0].training, seen[0].calibration)
    ]
    assert len(rows[0]) == 42 and len(rows[1]) == 6
    assert not set(rows[0]) & set(rows[1])
    assert sorted(rows[0] + rows[1]) == sorted(tuple(row) for row in tiny_bert.examples.inputs["input_ids"].tolist())


def test_padding_has_no_say(tiny_bert: conformance.Subject) -> None:
    compressor = TrainQuantized(bits=4, **SHORT | {"epochs": 0.1})
    examples = tiny_bert.examples
    padded = examples.inputs["attention_mask"] == 0
    inputs = {**examples.inputs, "input_ids": examples.inputs["input_ids"].masked_fill(padded, 5)}
    context = tiny_bert.context(compressor)
    found = []
    for training in (examples, dataclasses.replace(examples, inputs=inputs)):
        model = tiny_bert.dense.model()
        layers = surgery.block_linears(model)
        found.append(compressor.rounded(model, layers, dataclasses.replace(context, training=training)))
    for name, packed in found[0].items():
        assert float((packed.codes == found[1][name].codes).float().mean()) > 0.99, name


@pytest.mark.parametrize("name", ["bert-embedder", "gpt2"])
def test_hidden_states_and_transposed_layers_too(name: str, tmp_path: Path) -> None:
    subject = make(name, tmp_path)
    compressor = TrainQuantized(bits=2, learning_rate=1e-3, **SHORT)
    made = subject.artifact((compressor,))
    structure = made.recipe[-1]["structure"]
    assert structure["kept"] == "trained"
    assert 0 < structure["divergence"]["trained"] < structure["divergence"]["untrained"]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"bits": 1}, "bits = 1: must be a whole number from 2 to 8"),
        ({"grid": "nf4"}, "grid = 'nf4'"),
        ({"epochs": 0}, "epochs = 0: must be above 0"),
        ({"epochs": float("nan")}, "epochs = nan"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
    ],
)
def test_a_wrong_parameter_is_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainQuantized(**fields)


def test_weights_that_a_small_pull_does_not_move_are_refused(tiny_bert: conformance.Subject) -> None:
    with pytest.raises(Unsupported, match=r"train-quantized: its weights are torch\.bfloat16"):
        TrainQuantized().compress(surgery.cast(tiny_bert.dense.model(), torch.bfloat16), tiny_bert.context())


def test_too_few_examples_are_told(tiny_bert: conformance.Subject) -> None:
    context = dataclasses.replace(tiny_bert.context(TrainQuantized()), training=tiny_bert.examples[:7])
    with pytest.raises(PressbenchError, match="7 training examples are too few"):
        TrainQuantized(**SHORT).compress(tiny_bert.dense.model(), context)
