"""Half-quadratic quantization: the same offsets and codes as the paper's own steps, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressors.quantization.bits import unpack
from compressors.quantization.grids.half_quadratic import HalfQuadraticGrid
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest


def by_hand(weight: np.ndarray, scale: np.ndarray, low: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Offsets of groups, (groups, size), in float64, and turns. scale: steps a unit of weight, as the authors have it:
    minimise sum |e|^0.7 + beta / 2 |e - (w - dequantized)|² by turns over e and the offset, from a whole number on (its
    `round_zero`)."""
    zero, beta, best, turns = np.round(-low * scale), 10.0, np.inf, 0
    for _ in range(20):
        turns += 1
        codes = np.clip(np.round(weight * scale + zero), 0, 2**bits - 1)
        dequantized = (codes - zero) / scale
        off = weight - dequantized
        with np.errstate(divide="ignore"):
            outliers = np.sign(off) * np.maximum(np.abs(off) - np.abs(off) ** (0.7 - 1) / beta, 0)
        zero = (codes - (weight - outliers) * scale).mean(1, keepdims=True)
        beta *= 1.01
        mean = np.abs(off).mean()
        if mean >= best:
            break
        best = mean
    return zero, turns


def weights(size: float) -> Tensor:
    values = torch.randn(24, 64, generator=torch.Generator().manual_seed(0)) ** 3
    return values * size


@pytest.mark.parametrize("size", [0.02, 1.0], ids=["usual weights", "weights with errors that are outliers"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_offsets_and_codes_are_those_of_the_authors_steps(bits: int, size: float) -> None:
    weight = weights(size)
    packed = nearest(HalfQuadraticGrid(bits, 32), weight)
    groups = weight.double().numpy().reshape(-1, 32)
    low, high = groups.min(1, keepdims=True), groups.max(1, keepdims=True)
    step = packed.scale.double().numpy().reshape(-1, 1)
    assert np.allclose(step, (high - low) / (2**bits - 1), rtol=2**-10)
    zero, turns = by_hand(groups, 1 / step, low, bits)
    assert turns >= 2
    found = packed.zero.double().numpy().reshape(-1, 1)
    near = 0.01 + np.abs(zero) * 2**-11  # as stored; and one weight in a group may be rounded otherwise in float32
    assert (np.abs(found - zero) <= near).mean() > 0.97
    codes = np.clip(np.round(groups / step + zero), 0, 2**bits - 1)
    own = unpack(packed.codes, bits, 64).numpy().reshape(-1, 32)
    assert (codes == own).mean() > 0.985 and np.abs(codes - own.astype(float)).max() <= 1


@pytest.mark.parametrize("bits", [3, 4])
def test_weights_near_zero_lie_near_a_point(bits: int) -> None:
    """The fault: offsets from where the ends of a range are points on, which moved all of the many small weights of a
    group the same way, and cost a language model twice the perplexity."""
    zeros = nearest(
        HalfQuadraticGrid(bits, 64), torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    ).zeros()
    assert zeros is not None
    apart = (zeros - zeros.round()).abs()
    assert float(apart.median()) < 0.15  # 0.25 where it is anything


def test_outliers_are_told_from_errors_that_are_none() -> None:
    """With large weights the offset is not that of the least squared error, and with usual ones it is."""
    for size, same in ((0.02, True), (1.0, False)):
        weight = weights(size)
        packed = nearest(HalfQuadraticGrid(3, 32), weight)
        off = (packed.dequantize() - weight).unflatten(1, (2, 32)).mean(2).abs() / packed.scales()
        assert (float(off.mean()) < 0.02) == same


def test_it_is_nearer_than_round_to_nearest_with_the_same_steps() -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 0.02
    for bits in (3, 4):
        off = (nearest(HalfQuadraticGrid(bits, 32), weight).dequantize() - weight).square().sum()
        rounded = (nearest(LinearGrid(bits, 32), weight).dequantize() - weight).square().sum()
        assert float(off) < 0.93 * float(rounded)


def test_the_last_group_is_fitted_to_what_is_there() -> None:
    """40 columns are a group of 32 and one of 8: what that is filled up with must not count."""
    weight = weights(0.02)[:, :40] + 1.0
    whole, alone = nearest(HalfQuadraticGrid(4, 32), weight), nearest(HalfQuadraticGrid(4, 8), weight[:, 32:])
    assert torch.equal(whole.scale[:, 1], alone.scale[:, 0])
    assert float((whole.dequantize()[:, 32:] - alone.dequantize()).abs().max()) < 0.1 * float(whole.scale[:, 1].max())
    assert float((whole.dequantize() - weight).abs().max()) < 2 * float(whole.scale.max())


def test_importance_moves_the_offset_to_where_it_counts() -> None:
    weight = weights(0.02)
    cost = torch.rand(64, generator=torch.Generator().manual_seed(1)) ** 6
    lost = [
        float(((nearest(HalfQuadraticGrid(2, 32), weight, given).dequantize() - weight).square() * cost).sum())
        for given in (cost, None)
    ]
    assert lost[0] < 0.95 * lost[1]


@pytest.mark.parametrize("bits,size,dtype", [(3, 1.0, "float16"), (4, 1.0, "float16"), (8, 1.0, "float32")])
def test_an_offset_is_stored_in_half_where_that_moves_it_by_little(bits: int, size: float, dtype: str) -> None:
    packed = nearest(HalfQuadraticGrid(bits, 32), weights(size))
    assert packed.layout.zero_dtype == dtype and packed.zero.shape == packed.scale.shape
    far = nearest(HalfQuadraticGrid(4, 32), weights(size) / 100 + 50)
    assert far.layout.zero_dtype == "float32"
