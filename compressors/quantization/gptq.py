"""GPTQ: what rounding a weight did, the weights beside it make up for (Frantar et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressors.moments import inverse_factor
from compressors.quantization.laid_grid import Grid, LaidGrid
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_weights import CalibratedRounding, RoundedWeights

COLUMNS = 128
"""So many columns are gone through before the ones behind them are told, all at once."""


@dataclass(frozen=True)
class QuantizeGptq(CalibratedRounding):
    """Rounds a layer's weights input by input, and moves those of the inputs that are left so that its answers change
    least on the calibration data.

    act_order: begin with the inputs that are largest there; the grid of each group is then laid before any weight is
    moved, else when its turn comes. The others are those of every calibrated rounding.
    """

    name: ClassVar[str] = "quantize-gptq"
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **RoundedWeights.nightly_variants,
        "4bit-g64-fitted": {"grid": "fitted"},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **RoundedWeights.full_variants,
        "4bit-g64-in-order": {"act_order": False},
        "4bit-g64-codebook": {"grid": "codebook"},
        "4bit-g64-tuned": {"grid": "fitted", "tuning_epochs": 0.5},
    }

    act_order: bool = True

    def round(self, weights: Sequence[Tensor], moments: Tensor) -> list[PackedWeight]:
        stacked = torch.cat(list(weights))
        grid = self.grid_for(stacked)
        laid, codes = feed_back(stacked, moments, grid, damping=self.damping, act_order=self.act_order)
        return laid.packed_apart(codes, [len(weight) for weight in weights])


def feed_back(
    weight: Tensor, moments: Tensor, grid: Grid, *, damping: float, act_order: bool
) -> tuple[LaidGrid, Tensor]:
    """The grid as it was laid, and the codes, (rows, columns) uint8, of `weight`, (rows, columns) float32, whose error
    by `moments`, (columns, columns), is kept small column by column. See QuantizeGptq."""
    columns, size = weight.shape[1], grid.group_size
    importance = moments.diagonal()
    laid = grid.lay(weight, importance)
    order = importance.argsort(descending=True, stable=True) if act_order else torch.arange(columns)
    anew = not act_order and size < columns and grid.by_group  # each group's grid once what came before has moved it
    factor = inverse_factor(moments[order][:, order], damping).float()
    left = weight.T[order].contiguous()  # (columns, rows): a column is a row of memory
    codes = torch.empty(columns, len(weight), dtype=torch.uint8)
    span = size * -(-COLUMNS // size) if anew else COLUMNS
    for start in range(0, columns, span):
        stop = min(start + span, columns)
        own, triangle, places = left[start:stop], factor[start:stop, start:stop], order[start:stop]
        diagonal, errors = triangle.diagonal().tolist(), torch.empty_like(own)
        rounded = laid.by_column(places)
        for i, divisor in enumerate(diagonal):
            if anew and (start + i) % size == 0:
                group = slice(start + i, min(start + i + size, columns))
                laid.put((start + i) // size, grid.lay(left[group].T.contiguous(), importance[group]))
                rounded = laid.by_column(places)
            code, value = rounded(own[i], i)
            codes[start + i] = code
            torch.sub(own[i], value, out=errors[i]).div_(divisor)
            own[i + 1 :].addr_(triangle[i, i + 1 :], errors[i], alpha=-1)
        left[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    found = torch.empty_like(codes)
    found[order] = codes
    return laid, found.T.contiguous()
