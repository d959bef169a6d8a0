"""Pruning below a threshold: how many weights go is what comes out, not what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors.interface import Context, Unsupported
from compressors.pruning.weights import MaskedWeights, Weights

RELATIVE = ("deviation", "absolute")


@dataclass(frozen=True)
class PruneThreshold(MaskedWeights):
    """Sets to zero every weight below a threshold, then trains the others for a moment (Han et al. 2015, who set one
    for each layer by the deviation of its weights).

    threshold: below which a weight's magnitude goes. relative: "deviation", in standard deviations of the layer's
    weights, or "absolute". The share that went is in the artifact's recipe, as `sparsity`.
    embeddings, recovery_epochs, learning_rate: as every method that prunes weights has them.
    """

    name: ClassVar[str] = "prune-threshold"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "half-deviation": {"threshold": 0.5},
        "deviation": {"threshold": 1.0},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"threshold": (0.25, 0.5, 0.75, 1.0, 1.5)}

    threshold: float = 0.5
    relative: str = "deviation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold > 0:
            raise ValueError(f"threshold = {self.threshold!r}: must be above 0")
        if self.relative not in RELATIVE:
            raise ValueError(f"relative = {self.relative!r}: must be one of {', '.join(RELATIVE)}")

    def masks(self, model: nn.Module, weights: Weights, context: Context, done: float = 1.0) -> dict[str, Tensor]:
        found = {}
        for name, weight in weights.items():
            limit = self.threshold * (float(weight.std()) if self.relative == "deviation" else 1.0)
            found[name] = weight.abs() >= limit
            if not bool(found[name].any()):
                raise Unsupported(f"{self.name}: no weight of {name} reaches {limit:.3g}, it would be empty")
        return found
