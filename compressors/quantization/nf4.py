"""NormalFloat: the 4-bit type of QLoRA (Dettmers et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from compressors.quantization.grids.normal import NormalGrid
from compressors.quantization.laid_grid import Grid
from compressors.quantization.rounded_to_nearest import RoundedToNearest
from compressors.quantization.rounded_weights import RoundedWeights


@dataclass(frozen=True)
class QuantizeNf4(RoundedToNearest):
    """Stores each weight as one of 16 quantiles of a normal distribution, times the largest magnitude of its group of
    columns. Other bits than 4 have tables made the same way.

    double_quantization: store the scales as codes of 8 bits, 256 in a block: 0.12 bits a weight less in groups of 64.
    """

    name: ClassVar[str] = "quantize-nf4"
    grid: ClassVar[str] = "nf4"  # type: ignore[misc]  # no parameter here
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **RoundedWeights.full_variants,
        "4bit-g64-double": {"double_quantization": True},
    }

    double_quantization: bool = False

    def grid_for(self, weight: Tensor, bits: int | None = None) -> Grid:
        size = min(self.group_size, weight.shape[1])
        return NormalGrid(bits or self.bits, size, double=self.double_quantization)
