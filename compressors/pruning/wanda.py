"""Wanda: a weight matters as much as what it multiplies (Sun et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors.calibration import in_turn
from compressors.interface import Context
from compressors.moments import squares
from compressors.pruning.weights import PruneWeights, Weights, zero


@dataclass(frozen=True)
class PruneWanda(PruneWeights):
    """Sets the weights of the least |w| · ‖x‖ to zero, those of one output compared with each other, then trains the
    others for a moment. x is what the weight multiplies, over the calibration data, as the pruned blocks before leave
    it. The fields are those of every score of single weights."""

    name: ClassVar[str] = "prune-wanda"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PruneWeights.full_variants,
        "2-of-4-alone": {"pattern": "2:4", "recovery_epochs": 0.0},
    }

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
            norms = squares(look, list(own))
            masks = self.choose({name: weight.abs() * norms[name].sqrt() for name, weight in own.items()}, done)
            zero(own, masks)
            found |= masks
        return found
