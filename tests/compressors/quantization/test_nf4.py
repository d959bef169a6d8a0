"""NormalFloat: the published table, what it is made of, and scales in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from compressors import conformance
from compressors.build import build
from compressors.quantization.grids.normal import NormalGrid, table
from compressors.quantization.laid_grid import nearest
from compressors.quantization.nf4 import QuantizeNf4
from compressors.quantization.packed import PackedWeight

PUBLISHED = """
-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334
-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224
0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""
"""As the source of bitsandbytes has it."""


def test_the_table_is_the_published_one_to_the_last_digit() -> None:
    assert table(4).tolist() == [float(value) for value in PUBLISHED.split()]


@pytest.mark.parametrize("bits", range(2, 9))
def test_points_lie_at_equal_steps_of_probability_on_either_side_of_zero(bits: int) -> None:
    levels, half = table(bits).double().numpy(), 2 ** (bits - 1)
    assert len(levels) == 2**bits and levels[half - 1] == 0 and levels[0] == -1 and levels[-1] == 1
    outermost = 1 - (1 / (2 * half - 1) + 1 / (2 * half)) / 4
    share = norm.cdf(levels * norm.ppf(outermost))
    for side in (share[:half], share[half - 1 :]):
        assert np.allclose(np.diff(side), np.diff(side).mean(), atol=1e-6)


def test_codes_are_those_of_a_search_through_all_values() -> None:
    weight = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
    packed = nearest(NormalGrid(4, 64), weight)
    low, high = packed.codes & 15, packed.codes >> 4
    codes = torch.stack([low, high], 2).flatten(1)
    points = torch.tensor([float(value) for value in PUBLISHED.split()], dtype=torch.float64)
    groups = weight.double().unflatten(1, (2, 64))
    scale = packed.scale.double()[:, :, None]
    assert torch.allclose(scale, groups.abs().amax(2, keepdim=True), rtol=2**-10)
    assert torch.equal(codes.long(), ((groups / scale)[..., None] - points).abs().argmin(3).flatten(1))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zero_stays_zero_and_the_largest_is_kept(bits: int) -> None:
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    weight[:, ::3] = 0
    decoded = nearest(NormalGrid(bits, 16), weight).dequantize()
    assert bool((decoded[weight == 0] == 0).all())
    groups, found = weight.unflatten(1, (2, 16)), decoded.unflatten(1, (2, 16))
    assert torch.allclose(found.abs().amax(2), groups.abs().amax(2), rtol=2**-10)


def test_double_quantization_moves_a_scale_by_half_a_step_of_its_block() -> None:
    """Blocks of 256 scales go across rows: 40 rows of 9 groups are two of them."""
    weight = torch.randn(40, 36, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 5, 40)[:, None]
    weight[7] = 0  # of no size: must not widen the step for the others
    packed = nearest(NormalGrid(4, 4, double=True), weight)
    assert packed.scale.dtype == torch.uint8 and packed.scale_range.shape == (2, 2)
    largest = weight.unflatten(1, (9, 4)).abs().amax(2).flatten().double()
    scale = packed.scales().flatten().double()
    for block in (slice(0, 256), slice(256, 360)):
        own, real = largest[block], largest[block] > 0
        step = float(own.max() - own[real].min()) / 255
        assert float((scale[block] - own)[real].abs().max()) <= step * 0.51
    assert bool((packed.dequantize()[7] == 0).all())


def test_double_quantization_costs_little_and_saves_what_it_says(tmp_path: Path) -> None:
    subject = conformance.subject("llama")
    sizes, errors = [], []
    for double in (False, True):
        method = QuantizeNf4(group_size=16, double_quantization=double)
        made = build([method], subject.dense, subject.context(method), tmp_path / str(double))
        model, dense = made.model(), subject.dense.model()
        packed = {n: m for n, m in model.named_modules() if isinstance(m, PackedWeight)}
        scales = sum(p.rows * -(-p.columns // 16) for p in packed.values())
        blocks = sum(-(-p.rows * -(-p.columns // 16) // 256) for p in packed.values())
        stored = sum(t.numel() * t.element_size() for n, t in model.state_dict().items() if ".scale" in n)
        assert stored == (scales + 8 * blocks if double else 2 * scales)
        sizes.append(made.disk_bytes)
        off = [p.dequantize() - dense.get_parameter(n).detach() for n, p in packed.items()]
        errors.append(sum(float(o.double().square().sum()) for o in off))
    assert sizes[1] < sizes[0] - 2000
    assert errors[1] < 1.02 * errors[0]
