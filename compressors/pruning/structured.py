"""Structured pruning: the attention heads and feed-forward neurons go that a score says least of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors.interface import Context
from compressors.pruning.importance import Importance, Score
from compressors.pruning.scored_units import ScoredUnits
from compressors.pruning.unit_scores import activation, magnitude, random, taylor

# By name and not by looking into the folder: a cached artifact is told from a stale one by the imports of this file.
SCORES: Mapping[str, Score] = {
    "taylor": taylor.importance,
    "magnitude": magnitude.importance,
    "random": random.importance,
    "activation": activation.importance,
}


@dataclass(frozen=True)
class PruneStructured(ScoredUnits):
    """Removes the least important attention heads and feed-forward neurons of every layer, then recovers
    by distillation.

    score: what is important. "taylor", what the loss would change by; "magnitude" of the weights; "activation", that
    times the weights which read it; "random", the control. The others are those of every score of units.
    """

    name: ClassVar[str] = "prune-structured"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "heads": {"neurons_removed": 0.0},
        "neurons": {"heads_removed": 0.0},
        "75": {"heads_removed": 0.75, "neurons_removed": 0.75, "recovery_epochs": 3.0},
        "20": {"heads_removed": 0.0, "groups_removed": 0.2, "neurons_removed": 0.2},
        "random": {"score": "random"},
        "magnitude": {"score": "magnitude"},
    }

    score: str = "taylor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score not in SCORES:
            raise ValueError(f"score = {self.score!r}: must be one of {', '.join(SCORES)}")

    @property
    def finds_by(self) -> Mapping[str, Any]:
        return self.parameters_beyond(ScoredUnits)

    def importance(self, model: nn.Module, context: Context) -> list[Importance]:
        return SCORES[self.score](model, context)
