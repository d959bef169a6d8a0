"""What the grids that are methods by themselves share: every weight goes to the nearest point."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from compressors import surgery
from compressors.interface import Context
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_weights import RoundedWeights


@dataclass(frozen=True)
class RoundedToNearest(RoundedWeights):
    """Rounds to the nearest point of a grid of its own: a class of its name says which, as `grid: ClassVar[str]`."""

    @property  # type: ignore[misc]  # no parameter here
    @abc.abstractmethod
    def grid(self) -> str:  # type: ignore[override]
        """Which of the grids it is."""

    def rounded(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, PackedWeight]:
        found: dict[str, PackedWeight] = {}
        for done, name in enumerate(layers):
            weight = surgery.get(model, name).weight.detach()
            found[name] = nearest(self.grid_for(weight), weight)
            context.progress("layers", done + 1, len(layers))
        return found
