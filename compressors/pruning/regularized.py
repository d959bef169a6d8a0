"""Pruning after training under a penalty that draws weights towards zero (Han et al. 2015; Parikh and Boyd 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors.interface import Context
from compressors.pruning.weights import ScoredWeights, Weights
from compressors.recovery import check_precise, recover

PENALTIES = ("l1", "l2")


@torch.no_grad()
def shrink(weight: Tensor, penalty: str, amount: float) -> None:
    """The proximal step of a penalty, in place: what minimizes its own part of the loss, amount · |w| or amount / 2 ·
    w², plus half the squared distance from where training has moved the weight to."""
    if penalty == "l1":
        weight.copy_(weight.sign() * (weight.abs() - amount).clamp_(min=0))
    else:
        weight.div_(1 + amount)


@dataclass(frozen=True)
class PruneRegularized(ScoredWeights):
    """Trains under a penalty first, so that what the model can do without becomes small, then sets the smallest weights
    to zero and trains the others for a moment.

    penalty: "l1", which makes weights exactly zero, or "l2". pull: how hard, as the share of its layer's mean
    magnitude that a weight loses in all if nothing holds it. penalty_epochs: of that training, by distillation from
    the dense model. The others are those of every score of single weights.
    """

    name: ClassVar[str] = "prune-regularized"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {"sparsity": 0.5}}

    penalty: str = "l1"
    pull: float = 0.5
    penalty_epochs: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty not in PENALTIES:
            raise ValueError(f"penalty = {self.penalty!r}: must be one of {', '.join(PENALTIES)}")
        if not 0 < self.pull <= 2:
            raise ValueError(f"pull = {self.pull!r}: must be above 0, at most 2")
        if not self.penalty_epochs > 0:
            raise ValueError(f"penalty_epochs = {self.penalty_epochs!r}: must be above 0")
        if self.gradual:
            raise ValueError("schedule = 'gradual': the penalty is what prunes little by little; must be 'at-once'")

    def scores(self, model: nn.Module, weights: Weights, context: Context) -> dict[str, Tensor]:
        check_precise(model, self.name)
        units = {name: float(weight.abs().mean()) for name, weight in weights.items()}

        def before_step(step: int, steps: int) -> None:
            for name, weight in weights.items():
                amount = self.pull / steps
                shrink(weight, self.penalty, amount * units[name] if self.penalty == "l1" else amount)

        recover(
            model, context, epochs=self.penalty_epochs, learning_rate=self.learning_rate, what=f"{self.name}: penalty",
            before_step=before_step,
        )  # fmt: skip
        return {name: weight.abs() for name, weight in weights.items()}
