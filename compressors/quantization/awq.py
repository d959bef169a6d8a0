"""AWQ: the weights of the inputs that matter are made larger before they are rounded (Lin et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressors.quantization.gptq import feed_back
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_weights import CalibratedRounding, RoundedWeights

ROWS = 256
"""So many rows of the layers, at even distances, are rounded to tell one exponent from another."""
LEAST = 1e-4
"""Of the largest input, what an input counts as at least: one that is always zero would have no scale."""


@dataclass(frozen=True)
class QuantizeAwq(CalibratedRounding):
    """Multiplies the columns of a layer's weight by how large their inputs are, to a power, rounds them, and divides
    what is decoded by the same: a large input then meets a small error. The power is the one of `exponents` from 0 to 1
    by which the answers of the layers that are given the same change least on the calibration data.

    feedback: round as quantize-gptq does, not to nearest. damping: for that, of the Hessian's mean diagonal, added to
    the diagonal. The others are those of every rounding; the grid is the fitted one, each error weighted by how large
    its input is, which is the clipping of the paper. How large an input is, is the root of its mean square, where
    the paper takes the mean of its size.
    """

    name: ClassVar[str] = "quantize-awq"
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **RoundedWeights.nightly_variants,
        "4bit-g64-feedback": {"feedback": True},
    }

    grid: str = "fitted"
    exponents: int = 20
    feedback: bool = False
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.exponents, bool) or not isinstance(self.exponents, int) or self.exponents < 1:
            raise ValueError(f"exponents = {self.exponents!r}: must be a whole number, at least 1")
        if not self.damping > 0:
            raise ValueError(f"damping = {self.damping!r}: must be above 0")

    def round(self, weights: Sequence[Tensor], moments: Tensor) -> list[PackedWeight]:
        stacked = torch.cat(list(weights))
        grid = self.grid_for(stacked)
        scale = self.column_scale(stacked, moments)
        scaled, moments = stacked * scale, moments / scale / scale[:, None]
        if self.feedback:
            laid, codes = feed_back(scaled, moments, grid, damping=self.damping, act_order=True)
        else:
            laid = grid.lay(scaled, moments.diagonal())
            codes = laid.nearest(scaled, torch.arange(scaled.shape[1]))
        return laid.packed_apart(codes, [len(weight) for weight in weights], scale)

    def column_scale(self, weight: Tensor, moments: Tensor) -> Tensor:
        """What the columns of `weight`, (rows, columns) float32, are multiplied by: (columns,). moments: (columns,
        columns), the sum of x xᵀ; the error of the answers is the trace of E moments Eᵀ."""
        some = weight[:: max(1, len(weight) // ROWS)]
        columns = torch.arange(weight.shape[1])
        # To fit every range for every exponent costs twenty times as much, and chooses nearly the same.
        grid = (replace(self, grid="linear") if self.grid == "fitted" else self).grid_for(weight)
        size = moments.diagonal().sqrt()
        size = (size / size.amax().clamp_min(torch.finfo(size.dtype).tiny)).clamp_min(LEAST)
        best, least = torch.ones_like(size), float("inf")
        for number in range(self.exponents):
            scale = size ** (number / self.exponents)
            scale = scale / (scale.amax() * scale.amin()).sqrt()
            scaled = some * scale
            laid = grid.lay(scaled, moments.diagonal() / scale.square())
            off = laid.decode(laid.nearest(scaled, columns), columns) / scale - some
            error = float((off @ moments).mul_(off).sum())
            if error < least:
                best, least = scale, error
        return best
