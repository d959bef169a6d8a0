"""Wanda: a weight matters as much as what it multiplies (Sun et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressors.calibration import in_turn
from compressors.interface import Context
from compressors.pruning.weights import PruneWeights, Weights, zero


@dataclass(frozen=True)
class PruneWanda(PruneWeights):
    """Sets the weights of the least |w| · ‖x‖ to zero, those of one output compared with each other, then trains the
    others for a moment. x is what the weight multiplies, over the calibration data, as the pruned blocks before leave
    it. The fields are those of every score of single weights."""

    name: ClassVar[str] = "prune-wanda"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})

    scope: str = "row"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embeddings:
            raise ValueError("embeddings = True: a table that is looked up in multiplies nothing")
        if self.scope == "global":
            raise ValueError("scope = 'global': goes block by block; must be 'row' or 'layer'")

    def masks(self, model: nn.Module, weights: Weights, context: Context, done: float = 1.0) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for block, look in in_turn(model, context):
            own = {name: weight for name, weight in weights.items() if name.startswith(f"{block}.")}
            squares = {name: torch.zeros(weight.shape[1]) for name, weight in own.items()}

            def add(name: str, rows: Tensor, squares: dict[str, Tensor] = squares) -> None:
                squares[name] += rows.square().sum(0)

            look(list(own), add)
            masks = self.choose({name: weight.abs() * squares[name].sqrt() for name, weight in own.items()}, done)
            zero(own, masks)
            found |= masks
        return found
