"""8- and 4-bit weights that are computed with: the kernels against the weights they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressors import artifact, conformance
from compressors.build import build_step
from compressors.interface import Unsupported
from compressors.quantization.grid import lies_on_offset_grid
from compressors.quantization.kernels import Int4Linear, Int8Linear, KernelLinear
from compressors.quantization.weight_only import WeightOnly

ROWS, COLUMNS, GROUP = 96, 192, 64


@pytest.fixture
def weight() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(ROWS, COLUMNS, generator=generator) * torch.logspace(-3, 1, ROWS)[:, None]


def layer(bits: int, weight: Tensor, bias: nn.Parameter | None = None) -> KernelLinear:
    made = Int8Linear(ROWS, COLUMNS, bias) if bits == 8 else Int4Linear(ROWS, COLUMNS, bias, GROUP)
    made.quantize(weight)
    return made


@pytest.mark.parametrize("bits", [8, 4])
def test_every_weight_ends_within_a_step_of_where_it_was(bits: int, weight: Tensor) -> None:
    """Half a step for rounding, and what bf16 takes from the scale or the offset: 2^-8 of the largest weight."""
    found, grouped = layer(bits, weight).dequantize(), weight.unflatten(1, (-1, GROUP if bits == 4 else COLUMNS))
    step = (grouped.amax(2) - grouped.amin(2)) / 15 if bits == 4 else grouped.abs().amax(2) / 127
    slack = 0.5 * step + grouped.abs().amax(2) * 2.0**-7
    error = (found - weight).abs().unflatten(1, grouped.shape[1:]).amax(2)
    assert bool((error <= slack).all())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_the_kernel_computes_with_the_very_weights_that_are_stored(bits: int, rows: int, weight: Tensor) -> None:
    generator = torch.Generator().manual_seed(6)
    values = torch.randn(2, rows, COLUMNS, generator=generator).bfloat16()
    bias = nn.Parameter(torch.randn(ROWS, generator=generator).bfloat16(), requires_grad=False)
    made = layer(bits, weight, bias)
    stored = made.dequantize().double()
    product = nn.functional.linear(values.double(), stored)
    wanted = product + bias.double()
    made.place()
    with torch.inference_mode():
        found = made(values).double()
    # What is rounded to bf16: terms, their sum, and that with the bias, which may be next to nothing of either.
    terms = nn.functional.linear(values.double().abs(), stored.abs())
    assert bool(((found - wanted).abs() <= 0.02 * (product.abs() + bias.double().abs()) + terms / 1024).all())
    made.release()
    with torch.inference_mode():
        assert torch.equal(made(values).double(), found)


def test_a_constant_group_and_a_row_of_zeros_stay_what_they_are(weight: Tensor) -> None:
    weight[0], weight[1, :GROUP] = 0.0, 0.75
    for bits in (8, 4):
        found = layer(bits, weight).dequantize()
        assert not found[0].any()
        assert found[1, 0] == pytest.approx(0.75, rel=0.01)


def test_a_grid_with_offsets_is_told_from_the_weights(weight: Tensor) -> None:
    generator = torch.Generator().manual_seed(7)
    step = torch.rand(ROWS, COLUMNS // 32, 1, generator=generator) + 0.1
    offset = torch.randn(ROWS, COLUMNS // 32, 1, generator=generator)
    codes = torch.randint(0, 16, (ROWS, COLUMNS // 32, 32), generator=generator)
    there = (codes * step + offset).flatten(1)
    assert lies_on_offset_grid(there, 4, 32)
    assert not lies_on_offset_grid(there, 4, 64)  # two grids in one group
    assert not lies_on_offset_grid(there, 3, 32)
    assert not lies_on_offset_grid(weight, 4, 32)


def test_weights_that_are_on_the_grid_already_are_refused_and_other_groups_are_not() -> None:
    tiny = conformance.subject("llama")
    model = tiny.dense.model()
    method = WeightOnly(bits=4, group_size=32)
    with torch.no_grad():
        for linear in method._covered(model).values():
            grouped = linear.weight.unflatten(1, (-1, 32))
            low, high = grouped.amin(2, keepdim=True), grouped.amax(2, keepdim=True)
            linear.weight.copy_((((grouped - low) / (high - low) * 15).round() / 15 * (high - low) + low).flatten(1))
    with pytest.raises(Unsupported, match="lie on a 4-bit grid in groups of 32 already"):
        method.compress(model, tiny.context(method))
    assert WeightOnly(bits=4, group_size=64).compress(model, tiny.context(method)).structure["layers"]


def test_what_is_stored_has_the_bits_that_it_claims(tmp_path: Path) -> None:
    tiny = conformance.subject("llama")
    sizes = {}
    for bits in (8, 4):
        method = WeightOnly(bits=bits)
        made = build_step(method, tiny.dense, tiny.context(method), tmp_path / str(bits))
        counted = made.inventory().dtypes
        sizes[bits] = made.disk_bytes
        assert counted[f"int{bits}"] > counted["bfloat16"]
        assert artifact.open_artifact(made.directory).disk_bytes == made.disk_bytes
    assert sizes[4] < sizes[8] < tiny.dense.disk_bytes
