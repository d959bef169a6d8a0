"""AWQ: the weights of the inputs that matter are made larger before they are rounded (Lin et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.moments import quadratic
from compressors.quantization.gptq import feed_back
from compressors.quantization.laid_grid import Grid, LaidGrid, grouped
from compressors.quantization.packed import PackedWeight, storable
from compressors.quantization.rounded_weights import CalibratedRounding, RoundedWeights

ROWS = 256
"""So many rows of the layers, at even distances, are rounded to tell one exponent from another."""
LEAST = 1e-4
"""Of the largest input, what an input counts as at least: one that is always zero would have no scale."""


SHRINKS = tuple(1 - i / 20 for i in range(11))
"""What is tried of each group's range: 1 down to a half."""


@dataclass(frozen=True)
class QuantizeAwq(CalibratedRounding):
    """Multiplies the columns of a layer's weight by how large their inputs are, to a power, rounds them, and divides
    what is decoded by the same: a large input then meets a small error. The power is the one of `exponents` from 0 to 1
    by which the answers of the layers that are given the same change least on the calibration data: of a few at even
    distances the best, then all between its neighbours.

    clip: narrow the range of each group to where what it adds to the answers changes least. feedback: round as
    quantize-gptq does, not to nearest. The others are those of every calibrated rounding. How large an input is, is the
    root of its mean square, where the paper takes the mean of its size.
    """

    name: ClassVar[str] = "quantize-awq"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **RoundedWeights.full_variants,
        "4bit-g64-feedback": {"feedback": True},
    }

    exponents: int = 20
    clip: bool = True
    feedback: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.exponents, bool) or not isinstance(self.exponents, int) or self.exponents < 1:
            raise ValueError(f"exponents = {self.exponents!r}: must be a whole number, at least 1")

    def round(self, weights: Sequence[Tensor], moments: Tensor) -> list[PackedWeight]:
        stacked = torch.cat(list(weights))
        grid = self.grid_for(stacked)
        scale = self.column_scale(stacked, moments)
        scaled, moments = stacked * scale, moments / scale / scale[:, None]
        if self.clip:
            grid = Clipped(grid.bits, grid.group_size, grid, moments)
        if self.feedback:
            laid, codes = feed_back(scaled, moments, grid, damping=self.damping, act_order=True)
        else:
            laid = grid.lay(scaled, moments.diagonal())
            codes = laid.nearest(scaled, torch.arange(scaled.shape[1]))
        return laid.packed_apart(codes, [len(weight) for weight in weights], scale)

    def column_scale(self, weight: Tensor, moments: Tensor) -> Tensor:
        """What the columns of `weight`, (rows, columns) float32, are multiplied by: (columns,). moments: (columns,
        columns), the sum of x xᵀ; the error of the answers is the trace of E moments Eᵀ."""
        some, grid = weight[:: max(1, len(weight) // ROWS)], self.grid_for(weight)
        columns = torch.arange(weight.shape[1])
        size = moments.diagonal().sqrt()
        size = (size / size.amax().clamp_min(torch.finfo(size.dtype).tiny)).clamp_min(LEAST)

        def scale_of(number: int) -> Tensor:
            scale = size ** (number / self.exponents)
            return scale / (scale.amax() * scale.amin()).sqrt()

        def error_of(number: int) -> float:
            scale = scale_of(number)
            scaled = some * scale
            laid = grid.lay(scaled, moments.diagonal() / scale.square())
            return quadratic((laid.rounded(scaled, columns) / scale).sub_(some), moments)

        apart = max(1, self.exponents // 5)
        errors = {number: error_of(number) for number in range(0, self.exponents, apart)}
        best = min(errors, key=errors.__getitem__)
        near = range(max(0, best - apart + 1), min(self.exponents, best + apart))
        errors |= {number: error_of(number) for number in near if number != best}
        return scale_of(min(errors, key=errors.__getitem__))


@dataclass(frozen=True)
class Clipped(Grid):
    """A grid that is laid over a part of each group's range. moments: (columns, columns), the sum of x xᵀ over what the
    columns are given, of which those between columns of one group count."""

    bits: int
    group_size: int
    grid: Grid
    moments: Tensor

    def lay(self, weight: Tensor, importance: Tensor | None = None) -> LaidGrid:
        best, columns = self.grid.lay(weight, importance), weight.shape[1]
        if best.levels is not None and best.levels.dim() == 2:
            return best  # what a code stands for depends on all of a row
        groups = grouped(weight, self.group_size)  # (rows, groups, size)
        extra, size = -columns % self.group_size, self.group_size
        own = F.pad(self.moments, (0, extra, 0, extra)).unflatten(1, (-1, size)).unflatten(0, (-1, size))
        own = own.diagonal(dim1=0, dim2=2).movedim(2, 0)  # (groups, size, size)
        low, high = groups.amin(2, keepdim=True).clamp(max=0), groups.amax(2, keepdim=True).clamp(min=0)
        least: Tensor | None = None
        for shrink in SHRINKS:
            narrowed = groups.clamp(low * shrink, high * shrink).flatten(1)[:, :columns]
            laid = self.grid.lay(narrowed, importance)
            off = laid.rounded_groups(groups).sub_(groups).transpose(0, 1)
            error = (off @ own).mul_(off).sum(2).T  # (rows, groups)
            better = torch.ones_like(error, dtype=torch.bool) if least is None else error < least
            least = error if least is None else torch.where(better, error, least)
            best.scale = torch.where(better, laid.scale.float(), best.scale.float())
            if best.zero is not None and laid.zero is not None:
                best.zero = torch.where(better, laid.zero, best.zero)
        best.scale = storable(best.scale)
        return best

    def holds(self, weight: Tensor) -> bool:
        return self.grid.holds(weight)
