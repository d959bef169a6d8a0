"""AWQ: which scale it finds, that it is taken out again, and what it is good for."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from compressors import surgery
from compressors.build import build
from compressors.calibration import all_at_once
from compressors.conformance import Subject, subject
from compressors.interface import PressbenchError
from compressors.moments import second_moments
from compressors.quantization.awq import Clipped, QuantizeAwq
from compressors.quantization.gptq import QuantizeGptq
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed_layers import PackedLinear


def outlying(rows: int = 12, columns: int = 32) -> tuple[Tensor, Tensor]:
    """A weight, and inputs of which a few are far larger than the others and all go together: (200, columns)."""
    generator = torch.Generator().manual_seed(5)
    mixed = torch.eye(columns) + 0.2 * torch.randn(columns, columns, generator=generator)
    sizes = torch.logspace(0, 1.5, columns)[torch.randperm(columns, generator=generator)]
    return (
        torch.randn(rows, columns, generator=generator),
        torch.randn(200, columns, generator=generator) @ mixed * sizes,
    )


def rounded(weight: np.ndarray, bits: int, size: int) -> np.ndarray:
    """To the nearest of evenly spaced points from the smallest to the largest of each group, zero among them; in
    float64, steps held as fp16 that is rounded up."""
    found = np.empty_like(weight)
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], size):
            values = weight[row, start : start + size]
            low, high = min(values.min(), 0), max(values.max(), 0)
            step = np.float16((high - low) / (2**bits - 1))
            if step < (high - low) / (2**bits - 1):
                step = np.nextafter(step, np.float16(np.inf))
            step = np.float64(step)
            zero = np.round(-low / step)
            found[row, start : start + size] = (np.clip(np.round(values / step) + zero, 0, 2**bits - 1) - zero) * step
    return found


def error(other: Tensor, weight: Tensor, moments: Tensor) -> float:
    """The sum of squares of what the answers change by, in float64."""
    change = (weight - other).double()
    return float((change @ moments.double() * change).sum())


@pytest.mark.parametrize("exponents", [20, 7])
def test_the_exponent_is_the_best_of_all(exponents: int) -> None:
    """Each tried on the inputs themselves, in float64."""
    weight, inputs = outlying()
    w, x = weight.double().numpy(), inputs.double().numpy()
    size = np.sqrt((x**2).mean(0))
    scales = [size ** (i / exponents) for i in range(exponents)]
    scales = [s / math.sqrt(s.max() * s.min()) for s in scales]
    errors = [((x @ (rounded(w * s, 3, 8) / s - w).T) ** 2).sum() for s in scales]
    best = int(np.argmin(errors))
    assert 0 < best < exponents - 1 and errors[best] < 0.8 * errors[0]  # or the case would tell nothing
    found = QuantizeAwq(bits=3, group_size=8, exponents=exponents).column_scale(weight, inputs.T @ inputs)
    np.testing.assert_allclose(found.numpy(), scales[best], rtol=1e-4)


@pytest.mark.parametrize("bits", [2, 4])
def test_of_many_rows_some_tell_an_exponent_that_is_hardly_worse(bits: int) -> None:
    """Than the best for all of them, by their answers in float64."""
    weight, inputs = outlying(rows=700)
    w, x = weight.double().numpy(), inputs.double().numpy()
    size = np.sqrt((x**2).mean(0))

    def lost(scale: np.ndarray) -> float:
        return float(((x @ (rounded(w * scale, bits, 8) / scale - w).T) ** 2).sum())

    scales = [size ** (i / 20) for i in range(20)]
    errors = [lost(s / math.sqrt(s.max() * s.min())) for s in scales]
    assert min(errors) < 0.8 * errors[0] and min(errors) < 0.9 * errors[-1]  # or the case would tell nothing
    found = QuantizeAwq(bits=bits, group_size=8).column_scale(weight, inputs.T @ inputs).double().numpy()
    assert lost(found) < 1.02 * min(errors)


def test_the_first_exponent_is_nought() -> None:
    weight, inputs = outlying()
    assert torch.equal(QuantizeAwq(exponents=1).column_scale(weight, inputs.T @ inputs), torch.ones(32))


def test_with_scales_all_is_as_for_weights_and_inputs_that_were_scaled_before() -> None:
    """With feedback as GPTQ does them, without it with the ranges that such inputs ask for."""
    weight, inputs = outlying()
    method = QuantizeAwq(bits=3, group_size=8)
    scale = method.column_scale(weight, inputs.T @ inputs)
    given = inputs / scale
    [got] = dataclasses.replace(method, clip=False, feedback=True).round([weight], inputs.T @ inputs)
    [want] = QuantizeGptq(bits=3, group_size=8).round([weight * scale], given.T @ given)
    torch.testing.assert_close(got.dequantize() * scale, want.dequantize(), rtol=1e-4, atol=1e-4)
    [got] = method.round([weight], inputs.T @ inputs)
    laid = Clipped(3, 8, LinearGrid(3, 8), given.T @ given).lay(weight * scale)
    values = laid.decode(laid.nearest(weight * scale, torch.arange(32)), torch.arange(32))
    torch.testing.assert_close(got.dequantize() * scale, values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("feedback", [False, True])
def test_what_is_decoded_is_divided_by_the_scale(feedback: bool) -> None:
    weight, inputs = outlying()
    [packed] = QuantizeAwq(bits=8, group_size=8, feedback=feedback).round([weight], inputs.T @ inputs)
    assert packed.layout.column_scale and float(packed.column_scale.amax() / packed.column_scale.amin()) > 2
    assert float((packed.dequantize() - weight).abs().max()) < 0.2  # feedback moves weights


def test_layers_that_are_given_the_same_are_rounded_as_one() -> None:
    """One scale for all of them, and each gets its own rows."""
    weight, inputs = outlying(rows=12)
    moments = inputs.T @ inputs
    method = QuantizeAwq(bits=4, group_size=8)
    [whole] = method.round([weight], moments)
    parts = method.round([weight[:3], weight[3:8], weight[8:]], moments)
    assert torch.equal(torch.cat([part.dequantize() for part in parts]), whole.dequantize())


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_the_error_of_every_layer_is_below_that_of_the_nearest(kind: str) -> None:
    """Though their inputs, behind a norm that has learned nothing, are nearly of one size."""
    tiny = subject(kind)
    model = tiny.dense.model()
    plain, fed = (QuantizeAwq(group_size=16, exponents=8, feedback=feedback) for feedback in (False, True))
    names = surgery.block_linears(model)
    sums = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for name, moments in second_moments(all_at_once(model, tiny.context(plain)), names).items():
            weight = surgery.get(model, name).weight.detach()
            found = [plain.round([weight], moments)[0], fed.round([weight], moments)[0]]
            lost = [error(one.dequantize(), weight, moments) for one in (nearest(LinearGrid(4, 16), weight), *found)]
            assert lost[1] < lost[0] and lost[2] < 0.9 * lost[0], name
            sums += torch.tensor(lost)
    assert sums[1] < 0.95 * sums[0] and sums[2] < 0.8 * sums[0]


@pytest.mark.parametrize("size", [8, 12])
def test_each_range_is_the_one_by_which_the_answers_of_its_group_change_least(size: int) -> None:
    """Each tried on the inputs themselves, group by group; and it may be another than the whole."""
    weight, inputs = outlying()
    grid = LinearGrid(3, size)
    laid = Clipped(3, size, grid, inputs.T @ inputs).lay(weight)
    values = laid.decode(laid.nearest(weight, torch.arange(32)), torch.arange(32)).double().numpy()
    w, x, narrowed = weight.double().numpy(), inputs.double().numpy(), 0
    for row in range(len(w)):
        for start in range(0, 32, size):
            own, given = w[row, start : start + size], x[:, start : start + size]
            low, high = min(own.min(), 0), max(own.max(), 0)
            errors = []
            for shrink in np.linspace(1, 0.5, 11):
                step = float(np.float16((high - low) * shrink / 7))
                zero = np.round(-low * shrink / step)
                tried = (np.clip(np.round(own / step) + zero, 0, 7) - zero) * step
                errors.append(((given @ (tried - own)) ** 2).sum())
            error = ((given @ (values[row, start : start + size] - own)) ** 2).sum()
            assert error <= min(errors) * 1.02 + 1e-9, (row, start)  # steps as stored are fp16, rounded up
            narrowed += error < 0.9 * errors[0]
    assert narrowed > 10


def test_feedback_and_scales_are_better_than_either_alone() -> None:
    weight, inputs = outlying(rows=48)
    moments = inputs.T @ inputs
    methods = [QuantizeAwq(bits=3, group_size=16, feedback=True), QuantizeAwq(bits=3, group_size=16),
               QuantizeGptq(bits=3, group_size=16)]  # fmt: skip
    both, *alone = (error(m.round([weight], moments)[0].dequantize(), weight, moments) for m in methods)
    assert both < 0.9 * min(alone)


def test_padding_has_no_say(tiny_bert: Subject) -> None:
    def weights(tiny: Subject) -> dict[str, Tensor]:
        method = QuantizeAwq(group_size=16, exponents=4)
        return method.compress(tiny.dense.model(), tiny.context(method)).model.state_dict()

    inputs = tiny_bert.examples.inputs
    other = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 5)
    examples = dataclasses.replace(tiny_bert.examples, inputs={**inputs, "input_ids": other})
    found = weights(dataclasses.replace(tiny_bert, examples=examples))
    assert not torch.equal(other, inputs["input_ids"])
    for name, values in weights(tiny_bert).items():
        assert torch.equal(found[name], values), name


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("dead", [slice(3, 5), slice(None)], ids=["two", "all"])
def test_inputs_that_are_always_zero_are_no_trap(dead: slice, feedback: bool) -> None:
    weight, inputs = outlying()
    inputs[:, dead] = 0
    [packed] = QuantizeAwq(bits=8, group_size=8, feedback=feedback).round([weight], inputs.T @ inputs)
    values = packed.dequantize()
    assert bool(values.isfinite().all())
    assert error(values, weight, inputs.T @ inputs) <= 1e-3 * error(0 * weight, weight, inputs.T @ inputs)


def test_data_that_says_nothing_is_told(tiny_bert: Subject) -> None:
    method = QuantizeAwq(group_size=16)
    context = tiny_bert.context(method)
    none = dataclasses.replace(context, calibration=tiny_bert.examples[:0])
    with pytest.raises(PressbenchError, match="calibration data never reaches"):
        method.compress(tiny_bert.dense.model(), none)
    model = tiny_bert.dense.model()
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.weight[0] = torch.nan
    with pytest.raises(
        PressbenchError, match=r"^quantize-awq: what \S+ is given by the calibration data is not finite"
    ):
        method.compress(model, context)


def test_a_reader_that_knows_the_format_alone_decodes_the_file(tiny_bert: Subject, tmp_path: Path) -> None:
    """With numpy and Python's integers, from the bytes on disk."""
    method = QuantizeAwq(bits=3, group_size=24, exponents=4)
    made = build([method], tiny_bert.dense, tiny_bert.context(method), tmp_path)
    raw = next(made.directory.glob("*.safetensors")).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    types = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}

    shared = json.loads((made.directory / "artifact.json").read_text())["payload"]["shared"]

    def read(name: str) -> np.ndarray:
        about = header[shared.get(name, name)]  # query, key and value have one scale of columns
        begin, end = (start + offset for offset in about["data_offsets"])
        return np.frombuffer(raw[begin:end], types[about["dtype"]]).reshape(about["shape"])

    def codes(packed: np.ndarray, count: int) -> np.ndarray:
        numbers = (int.from_bytes(row.tobytes(), "little") for row in packed)
        return np.array([[number >> (3 * i) & 7 for i in range(count)] for number in numbers], dtype=np.float64)

    model = made.model()
    layers = {name: m for name, m in model.named_modules() if isinstance(m, PackedLinear)}
    assert list(layers) == surgery.block_linears(tiny_bert.dense.model())
    for name in [*layers][:7]:
        columns = layers[name].in_features
        scale = read(f"{name}.weight.scale").astype(np.float64)
        zero = codes(read(f"{name}.weight.zero"), scale.shape[1])
        groups = np.arange(columns) // 24
        values = (codes(read(f"{name}.weight.codes"), columns) - zero[:, groups]) * scale[:, groups]
        values /= read(f"{name}.weight.column_scale").astype(np.float64)
        np.testing.assert_allclose(layers[name].weight.numpy(), values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "parameters,message",
    [
        ({"exponents": 0}, "exponents = 0: must be a whole number, at least 1"),
        ({"exponents": 2.5}, "exponents = 2.5"),
        ({"damping": 0.0}, "damping = 0.0: must be above 0"),
        ({"bits": 9}, "bits = 9"),
        ({"grid": "log"}, "grid = 'log': must be one of"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeAwq(**parameters)
