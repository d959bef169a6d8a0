"""Random pruning: the control that every score must beat at the same size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressors.interface import Context
from compressors.pruning.weights import ScoredWeights, Weights


@dataclass(frozen=True)
class PruneRandom(ScoredWeights):
    """Sets weights to zero that the run's seed picks, then trains the others for a moment."""

    name: ClassVar[str] = "prune-random"

    def scores(self, model: nn.Module, weights: Weights, context: Context) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(context.seed)  # a gradual schedule asks again, for the same ones
        return {name: torch.rand(weight.shape, generator=generator) for name, weight in weights.items()}
