"""The logarithmic grid: zero, and powers of two with a sign (Miyashita et al. 2016; INQ, Zhou et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressors.quantization.grid import lies_on_levels
from compressors.quantization.laid_grid import Grid, LaidGrid, finite, grouped
from compressors.quantization.packed import storable

MOST_BITS = 6
"""Its smallest point is 2**-31 of its largest, less than fp32 tells apart from it; that of 8 bits, 2**-127, would be
no normal number."""
TRIED = tuple(2 ** (i / 8) for i in range(3, -9, -1))
"""Scales that are tried, times the largest magnitude: from a third more, where that is as near to the point below, down
to half. Those of twice the size have the same points but for the smallest."""


def powers(bits: int) -> Tensor:
    """The points of that many bits, (2**bits,) float32, ascending: 0, 1, 1/2, … half of the codes above zero, and one
    less below. Raises ValueError for more than 6 bits."""
    if bits > MOST_BITS:
        raise ValueError(
            f"bits = {bits!r}: at most {MOST_BITS} on the grid of powers of two; more would reach below fp32"
        )
    half = 2 ** (bits - 1)
    above = torch.exp2(-torch.arange(half, dtype=torch.float32))
    return torch.cat([-above[: half - 1], torch.zeros(1), above.flip(0)])


def _nearest(values: Tensor, bits: int) -> Tensor:
    """The nearest of `powers(bits)` to each of `values`, float32: several times as fast as to search for it, which
    matters where twelve scales are tried."""
    half = 2 ** (bits - 1)
    # A float is its exponent before its fraction: half a power more carries over into the next, the rest is cut off.
    found = ((values.contiguous().view(torch.int32) + (1 << 22)) & -(1 << 23)).view(torch.float32)
    for sign, smallest in ((1.0, 2.0 ** (1 - half)), (-1.0, 2.0 ** (2 - half))):
        size = values * sign
        found = found.where((size <= 0) | (size >= smallest), sign * smallest)
        found = found.where((size <= 0) | (size > smallest / 2), 0.0)
    return found.clamp_(-1, 1)


@dataclass(frozen=True)
class PowersGrid(Grid):
    """A scale for each group of columns, times ±2**-k or 0, so that a product with a weight is a shift. A weight goes
    to the nearest point, not to that of the nearest exponent. The scale is the one of a few with the least squared
    error. Zero is a point: what is zero stays so."""

    bits: int
    group_size: int

    def __post_init__(self) -> None:
        powers(self.bits)

    def lay(self, weight: Tensor, importance: Tensor | None = None) -> LaidGrid:
        groups = grouped(finite(weight), self.group_size)  # (rows, groups, size)
        matters = torch.ones(()) if importance is None else grouped(importance.expand(weight.shape), self.group_size)
        limits = torch.finfo(torch.float32)
        least_scale = limits.tiny * 2.0 ** (2 ** (self.bits - 1) - 1)  # of which the smallest point is still normal
        largest = groups.abs().amax(2, keepdim=True)
        largest = largest.where(largest > 0, 1.0)  # a group of zeros: any scale will do
        best, least = torch.zeros_like(largest), torch.full_like(largest, torch.inf)
        for share in sorted(TRIED, key=lambda share: share != 1):  # of equals the first: what lies on the grid stays
            scale = storable((largest * share).clamp(least_scale, limits.max)).float()
            scaled = groups / scale
            off = _nearest(scaled, self.bits).sub_(scaled).square_().mul_(matters).sum(2, keepdim=True)
            error = off * (scale / largest).square()
            best, least = scale.where(error < least, best), error.where(error < least, least)
        return LaidGrid(self.bits, self.group_size, storable(best[:, :, 0]), levels=powers(self.bits))

    def holds(self, weight: Tensor) -> bool:
        return lies_on_levels(weight, powers(self.bits), self.group_size)
