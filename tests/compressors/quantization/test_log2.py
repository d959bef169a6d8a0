"""Powers of two: what is stored is nothing else, at any size of weights, and the scale is worth its search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressors.quantization.grids.powers import PowersGrid
from compressors.quantization.laid_grid import nearest


def weights(rows: int = 16, columns: int = 48) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) / 20


@pytest.mark.parametrize("size", [48, 16, 5])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_every_stored_number_is_zero_or_a_power_of_two_times_the_scale(bits: int, size: int) -> None:
    packed = nearest(PowersGrid(bits, size), weights())
    scale = packed.scale.double().numpy().repeat(size, axis=1)[:, :48]
    fraction, exponent = np.frexp(packed.dequantize().double().numpy() / scale)
    zero = fraction == 0
    assert set(np.abs(fraction[~zero])) == {0.5}
    assert exponent[~zero].max() <= 1 and exponent[~zero].min() >= 2 - 2 ** (bits - 1)
    assert len(packed.levels.unique()) == 2**bits and 0 in packed.levels


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-12, 1.0, 1e30, 2e38])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_no_number_is_below_or_beyond_what_is_normal(bits: int, size: float) -> None:
    packed = nearest(PowersGrid(bits, 16), torch.linspace(-1, 1, 64)[None] * size)
    points = (packed.levels.double() * packed.scale.double()[:, :, None]).abs()
    assert float(points[points > 0].min()) >= torch.finfo(torch.float32).tiny
    values = packed.dequantize()
    assert bool(values.isfinite().all()) and float(packed.scale.max()) < float("inf")
    assert bool(((values == 0) | (values.abs() >= torch.finfo(torch.float32).tiny)).all())


@pytest.mark.parametrize("bits", [7, 8])
def test_more_bits_are_refused_in_a_line(bits: int) -> None:
    with pytest.raises(ValueError, match=f"^bits = {bits}: at most 6 on the grid of powers of two; [^\n]*$"):
        PowersGrid(bits, 64)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_zero_stays_zero(bits: int) -> None:
    weight = weights()
    weight[:, ::3] = 0
    weight[2] = 0
    assert bool((nearest(PowersGrid(bits, 16), weight).dequantize()[weight == 0] == 0).all())


@pytest.mark.parametrize("bits,importance", [(2, False), (3, False), (4, False), (3, True), (4, True)])
def test_the_scale_is_nearly_the_best_there_is(bits: int, importance: bool) -> None:
    """Against 2,000 scales for each group, each weight at the nearest of the points, in float64."""
    weight = weights(8, 16)
    matters = torch.rand(16, generator=torch.Generator().manual_seed(2)) ** 4 if importance else torch.ones(16)
    decoded = nearest(PowersGrid(bits, 16), weight, matters if importance else None).dequantize()
    below = [-(2.0**-k) for k in range(2 ** (bits - 1) - 1)]
    points = np.array([*below, 0.0, *(2.0**-k for k in range(2 ** (bits - 1)))])
    cost = matters.double().numpy()
    for row, found in zip(weight.double().numpy(), decoded.double().numpy(), strict=True):
        scales = np.abs(row).max() * np.geomspace(0.3, 3, 2000)
        off = np.abs(row[None, :, None] - scales[:, None, None] * points).min(2)
        best = (off**2 * cost).sum(1).min()
        assert ((found - row) ** 2 * cost).sum() <= 1.15 * best
