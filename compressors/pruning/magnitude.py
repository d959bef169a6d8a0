"""Magnitude pruning: the smallest weights become zero (Han et al. 2015, NeurIPS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors.interface import Context
from compressors.pruning.weights import ScoredWeights, Weights


@dataclass(frozen=True)
class PruneMagnitude(ScoredWeights):
    """Sets the smallest weights to zero, then trains the others for a moment. The fields are those of every score of
    single weights; the token embedding is covered too, unless `embeddings` says no."""

    name: ClassVar[str] = "prune-magnitude"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {"sparsity": 0.5}}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "30": {"sparsity": 0.3},
        "70": {"sparsity": 0.7},
        "90": {"sparsity": 0.9},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "blocks-only-50-alone": {"sparsity": 0.5, "embeddings": False, "recovery_epochs": 0.0},
    }

    # "layer" is as good as "global" within the noise (MiniLM, 50 %), and no tensor can be wrecked.
    embeddings: bool = True

    def scores(self, model: nn.Module, weights: Weights, context: Context) -> dict[str, Tensor]:
        return {name: weight.abs() for name, weight in weights.items()}
