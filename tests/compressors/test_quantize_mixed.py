"""Bits by layer: the choice against trying all of them, the budget in the file, the guarantee, what a layer costs."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_architectures import make
from torch import nn
from torch.nn import functional as F

from compressors import conformance, surgery
from compressors.artifact import Artifact
from compressors.build import build
from compressors.divergence import divergence, fisher_of_outputs
from compressors.interface import Unsupported
from compressors.knapsack import cheapest
from compressors.quantization import mixed as mixed_bits
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.mixed import QuantizeMixed
from compressors.quantization.packed import PackedWeight

SMALL = {"group_size": 16}


def made(subject: conformance.Subject, folder: Path, **fields: object) -> Artifact:
    compressor = QuantizeMixed(**SMALL | fields)
    return build([compressor], subject.dense, subject.context(compressor), folder)


def packed_bytes(made: Artifact) -> int:
    """Of the packed weights, as the file says."""
    with safe_open(made.directory / "model.safetensors", "pt") as file:
        parts = [file.get_tensor(n) for n in file.keys() if n.endswith((".codes", ".scale", ".zero"))]  # noqa: SIM118
    return sum(part.numel() * part.element_size() for part in parts)


def bits_of(made: Artifact) -> dict[str, int]:
    return {name: m.layout.bits for name, m in made.model().named_modules() if isinstance(m, PackedWeight)}


def kl(model: nn.Module, dense: nn.Module, examples) -> float:
    """KL(dense ‖ model) in nats, mean over the examples, in float64."""
    with torch.no_grad():
        found, wanted = (m.double()(**examples.inputs).logits.log_softmax(-1) for m in (model, dense))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


# -- the choice ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_the_best_of_all_there_are(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes = np.cumsum(draw.integers(1, 40, (4, 5)), axis=1) * draw.choice([1, 1, 5000])
    costs = np.sort(np.exp(draw.normal(0, 4, (4, 5))), axis=1)[:, ::-1] * draw.choice([1e-9, 1, 1e9])
    budget = draw.uniform(sizes[:, 0].sum(), sizes[:, -1].sum())
    rows = np.arange(4)
    fitting = [pick for pick in itertools.product(range(5), repeat=4) if sizes[rows, pick].sum() <= budget]
    best = min(costs[rows, pick].sum() for pick in fitting)
    found = cheapest(costs, sizes, budget)
    assert sizes[rows, found].sum() <= budget
    assert costs[rows, found].sum() == pytest.approx(best, rel=1e-9)


def test_the_least_budget_is_met() -> None:
    costs, sizes = np.array([[9.0, 1.0], [5.0, 4.0]]), np.array([[10, 20], [10, 20]])
    assert cheapest(costs, sizes, 20) == [0, 0]
    assert cheapest(costs, sizes, 39) == [1, 0]
    assert cheapest(costs, sizes, 40) == [1, 1]


@pytest.mark.parametrize("average,grid", [(3.0, "linear"), (4.5, "linear"), (4.0, "symmetric")])
def test_the_file_holds_no_more_than_the_budget(
    tiny: conformance.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float, grid: str
) -> None:
    apart = iter([1.0, 0.0])  # of the uniform model, of the mixed one, which is kept whatever it is worth
    monkeypatch.setattr(mixed_bits, "divergence", lambda *_: next(apart))
    mixed = made(tiny, tmp_path, average_bits=average, grid=grid)
    layers = {n: surgery.get(tiny.dense.model(), n).weight for n in surgery.block_linears(tiny.dense.model())}

    def uniform(bits: int) -> int:
        zeros = 1 if grid == "linear" else 0
        return sum(
            len(w) * (-(-w.shape[1] * bits // 8) + w.shape[1] // 16 * 2 + zeros * -(-(w.shape[1] // 16) * bits // 8))
            for w in layers.values()
        )

    budget = (uniform(int(average)) + uniform(int(np.ceil(average)))) / 2
    assert 0.95 * budget < packed_bytes(mixed) <= budget  # and nearly all of it is used
    assert len(set(bits_of(mixed).values())) > 1


# -- what is kept ----------------------------------------------------------------------------------


def test_it_is_nearer_the_dense_model_than_the_same_bits_everywhere(tiny: conformance.Subject, tmp_path: Path) -> None:
    mixed = made(tiny, tmp_path, average_bits=3.0)
    uniform = tiny.dense.model()
    with torch.no_grad():
        for name in surgery.block_linears(uniform):
            weight = surgery.get(uniform, name).weight
            weight.copy_(nearest(LinearGrid(3, 16), weight).dequantize())
    calibration = tiny.examples[:16]
    apart = {
        "mixed": kl(mixed.model(), tiny.dense.model(), calibration),
        "uniform": kl(uniform, tiny.dense.model(), calibration),
    }
    structure = mixed.recipe[-1]["structure"]
    assert structure["kept"] == "mixed"
    assert structure["divergence"] == pytest.approx(apart, rel=1e-3)
    assert apart["mixed"] < 0.9 * apart["uniform"]
    dense = tiny.dense.model()
    for name, module in mixed.model().named_modules():
        if isinstance(module, PackedWeight):  # each from the dense weight, not from what was tried before
            weight = surgery.get(dense, name.removesuffix(".weight")).weight.detach()
            assert torch.equal(module.dequantize(), nearest(LinearGrid(module.layout.bits, 16), weight).dequantize())


def test_a_choice_that_is_worse_than_none_is_not_kept(
    tiny: conformance.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = QuantizeMixed.find

    def reversed_costs(self, model, context):
        found = find(self, model, context)
        return {name: torch.stack([-facts[0], facts[1]]) for name, facts in found.items()}

    monkeypatch.setattr(QuantizeMixed, "find", reversed_costs)
    worse = made(tiny, tmp_path, average_bits=4.0)
    structure = worse.recipe[-1]["structure"]
    assert structure["kept"] == "uniform"
    assert structure["divergence"]["mixed"] > structure["divergence"]["uniform"]
    assert set(bits_of(worse).values()) == {4}
    dense = tiny.dense.model()
    for name, module in worse.model().named_modules():
        if isinstance(module, PackedWeight):
            weight = surgery.get(dense, name.removesuffix(".weight")).weight.detach()
            assert torch.equal(module.dequantize(), nearest(LinearGrid(4, 16), weight).dequantize()), name


def test_error_feedback_comes_nearer(tiny: conformance.Subject, tmp_path: Path) -> None:
    apart = {
        rounding: kl(
            made(tiny, tmp_path / rounding, average_bits=3.0, rounding=rounding).model(),
            tiny.dense.model(),
            tiny.examples[:16],
        )
        for rounding in ("nearest", "gptq")
    }
    assert apart["gptq"] < apart["nearest"]


# -- what a layer costs ----------------------------------------------------------------------------


def test_what_a_layer_costs_is_what_the_answers_move_by(tiny: conformance.Subject) -> None:
    """Layer by layer at 6 bits, against the divergence of the model in which it alone is rounded."""
    compressor = QuantizeMixed(choices=(6, 8), average_bits=6.0, **SMALL)
    context = dataclasses.replace(tiny.context(compressor), calibration=tiny.examples)
    found = compressor.find(tiny.dense.model(), context)
    dense = tiny.dense.model()
    told, seen = [], []
    for name, facts in found.items():
        model = copy.deepcopy(dense)
        weight = surgery.get(model, name).weight
        with torch.no_grad():
            weight.copy_(nearest(LinearGrid(6, 16), weight).dequantize())
        seen.append(kl(model, dense, tiny.examples))
        told.append(float(facts[0, 0]) / len(tiny.examples))
    ratio = np.log(np.array(told) / np.array(seen))
    assert np.corrcoef(np.log(told), np.log(seen))[0, 1] > 0.7
    assert abs(np.median(ratio)) < 0.7


def test_the_fisher_information_is_that_of_the_models_own_answers(tiny_bert: conformance.Subject) -> None:
    """Of the last block's output, against all classes in turn, each as likely as the model says, in float64."""
    name = surgery.block_linears(tiny_bert.dense.model())[-1]
    model, examples = tiny_bert.dense.model().double(), tiny_bert.examples
    wanted = torch.zeros(64, dtype=torch.float64)
    for one in examples.batches(1):
        held: list[torch.Tensor] = []
        handle = surgery.get(model, name).register_forward_hook(lambda m, i, out, held=held: held.append(out))
        logs = model(**one.inputs).logits.log_softmax(-1)[0]
        for log in logs:
            (gradient,) = torch.autograd.grad(log, held, retain_graph=True)
            wanted += float(log.detach().exp()) * gradient[0].square().sum(0) / (16 * len(examples))
        handle.remove()
    context = dataclasses.replace(tiny_bert.context(QuantizeMixed()), calibration=examples)
    draws = [
        fisher_of_outputs(tiny_bert.dense.model(), [name], dataclasses.replace(context, seed=seed))[name]
        for seed in range(12)
    ]
    found = torch.stack(draws).mean(0).double()
    assert float(F.cosine_similarity(found, wanted, dim=0)) > 0.98
    assert float(found.sum() / wanted.sum()) == pytest.approx(1, abs=0.15)


def test_padding_has_no_say(tiny_bert: conformance.Subject) -> None:
    compressor = QuantizeMixed(**SMALL)
    context = tiny_bert.context(compressor)
    padded = context.calibration.inputs["attention_mask"] == 0
    other = context.calibration.inputs["input_ids"].masked_fill(padded, 5)
    inputs = {**context.calibration.inputs, "input_ids": other}
    changed = dataclasses.replace(context, calibration=dataclasses.replace(context.calibration, inputs=inputs))
    found, again = (compressor.find(tiny_bert.dense.model(), c) for c in (context, changed))
    for name, facts in found.items():
        assert torch.allclose(facts, again[name], rtol=1e-3), name


def test_looking_leaves_no_trace(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    before = copy.deepcopy(model.state_dict())
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    fisher_of_outputs(model, surgery.block_linears(model), tiny_bert.context(QuantizeMixed()))
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1 and not frozen.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


# -- other models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert-embedder", "gpt2", "t5"])
def test_hidden_states_transposed_layers_and_decoders_too(name: str, tmp_path: Path) -> None:
    subject = make(name, tmp_path)
    compressor = QuantizeMixed(average_bits=3.0, **SMALL)
    made = subject.artifact((compressor,))
    structure = made.recipe[-1]["structure"]
    assert structure["kept"] == "mixed"
    assert 0 < structure["divergence"]["mixed"] < structure["divergence"]["uniform"]
    assert len(set(bits_of(made).values())) > 1


def test_hidden_states_are_as_far_apart_as_they_are(tmp_path: Path) -> None:
    subject = make("bert-embedder", tmp_path)
    dense, model = subject.dense.model(), subject.dense.model()
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight.mul_(1.1)
        examples = subject.examples[:16]
        real = examples.inputs["attention_mask"].bool()
        wanted, found = (m(**examples.inputs).last_hidden_state[real].double() for m in (dense, model))
    context = dataclasses.replace(
        conformance.subject("bert").context(QuantizeMixed()), model=subject.spec, calibration=examples
    )
    expected = float((found - wanted).square().sum() / wanted.square().sum())
    assert divergence(model, dense, context) == pytest.approx(expected, rel=1e-4)


def test_layers_that_share_a_weight_are_counted_and_stored_once(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    compressor = QuantizeMixed(average_bits=3.0, **SMALL)
    model = tiny_bert.dense.model()
    layers = model.bert.encoder.layer
    for number in (1, 2):
        for name in surgery.block_linears(model):
            if name.startswith(f"bert.encoder.layer.{number}."):
                part = name.removeprefix(f"bert.encoder.layer.{number}.")
                surgery.get(layers[number], part).weight = surgery.get(layers[0], part).weight
    result = compressor.compress(model, tiny_bert.context(compressor))
    packed = {id(m): m for m in result.model.modules() if isinstance(m, PackedWeight)}.values()
    assert len(packed) == 12
    alone = sum(p.rows * (p.columns * 3 // 8 + p.columns // 16 * 2 + -(-(p.columns // 16) * 3 // 8)) for p in packed)
    assert sum(b.numel() * b.element_size() for p in packed for b in p.buffers()) <= alone


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"average_bits": 1.9}, r"average_bits = 1.9: must lie between the first and the last of `choices`, 2 and 8"),
        ({"average_bits": 8.5}, "average_bits = 8.5"),
        ({"average_bits": float("nan")}, "average_bits = nan"),
        ({"choices": (4, 3, 2)}, r"choices = \(4, 3, 2\): must be two or more whole numbers from 2 to 8, ascending"),
        ({"choices": (4,)}, "choices"),
        ({"choices": (1, 4)}, "choices"),
        ({"choices": (2, 4.5)}, "choices"),
        ({"rounding": "up"}, "rounding = 'up': must be one of nearest, gptq"),
        ({"group_size": 0}, "group_size = 0"),
        ({"embedding_bits": 9}, "embedding_bits = 9: must be a whole number from 2 to 8, or 0"),
        ({"grid": "log"}, "grid = 'log'"),
    ],
)
def test_a_wrong_parameter_is_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeMixed(**fields)


def test_a_model_that_is_lossless_with_the_same_bits_everywhere_says_so(tiny: conformance.Subject) -> None:
    compressor, model = QuantizeMixed(average_bits=4.5, **SMALL), tiny.dense.model()
    with torch.no_grad():
        for name in surgery.block_linears(model):
            weight = surgery.get(model, name).weight
            weight.copy_(nearest(LinearGrid(4, 16), weight).dequantize())
    with pytest.raises(Unsupported, match="quantize-mixed: the weights lie on a 4-bit grid already"):
        compressor.compress(model, tiny.context(compressor))
