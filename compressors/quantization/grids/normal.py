"""NormalFloat: points at the quantiles of a normal distribution, the table of QLoRA (Dettmers et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressors.quantization.grid import lies_on_levels
from compressors.quantization.laid_grid import Grid, LaidGrid, finite, grouped
from compressors.quantization.packed import coded_scales, decoded_scales, storable

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values as published, and as every other implementation has them."""


def table(bits: int) -> Tensor:
    """The points of that many bits, (2**bits,) float32 from -1 to 1 with 0 among them: NF4, or made as it was made,
    half of the codes above zero and one less below."""
    if bits == 4:
        return torch.tensor(NF4)
    count = 2**bits
    outermost = 1 - (1 / (count - 1) + 1 / count) / 4  # half of a code's probability, of either side's; 0.9677 for NF4
    above, below = (
        torch.special.ndtri(torch.linspace(outermost, 0.5, codes + 1, dtype=torch.float64)[:-1])
        for codes in (count // 2, count // 2 - 1)
    )
    return (torch.cat([-below, torch.zeros(1), above.flip(0)]) / above[0]).float()


def _filled(scale: Tensor) -> Tensor:
    """The scales, (rows, groups), with that of the group before where it is zero: any would do for a group of zeros,
    but one of another size would make the steps of a block of scales coarser."""
    flat = scale.flatten()
    known = flat.nonzero()[:, 0]
    if not len(known):
        return torch.ones_like(scale)
    before = torch.searchsorted(known, torch.arange(len(flat)), right=True) - 1
    return flat[known[before.clamp(min=0)]].view(scale.shape)


@dataclass(frozen=True)
class NormalGrid(Grid):
    """The table of NormalFloat times the largest magnitude of each group of columns, so that a normally distributed
    weight uses all codes alike. Zero is a point.

    double: store the scales as codes of 8 bits, 256 in a block. QLoRA does so around their mean and on a dynamic grid;
    here they are evenly spaced between the least and the largest of a block.
    """

    bits: int
    group_size: int
    double: bool = False

    def lay(self, weight: Tensor, importance: Tensor | None = None) -> LaidGrid:
        scale = grouped(finite(weight), self.group_size).abs().amax(2)
        scale = _filled(scale)
        scale = decoded_scales(*coded_scales(scale)) if self.double else storable(scale)
        return LaidGrid(self.bits, self.group_size, scale, levels=table(self.bits), coded_scales=self.double)

    def holds(self, weight: Tensor) -> bool:
        return lies_on_levels(weight, table(self.bits), self.group_size)
