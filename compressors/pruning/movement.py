"""Movement pruning: the weights go that training moves towards zero (Sanh et al. 2020, NeurIPS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressors import surgery
from compressors.interface import Compressed, Context
from compressors.pruning.weights import PruneWeights, Weights, covered, on_ramp, turned, zero
from compressors.recovery import recover

UPDATES = 64
"""How often the masks are chosen anew on the way."""


class _StraightThrough(torch.autograd.Function):
    """weight · mask, where the scores get the gradient that the mask would have, also for what is masked."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        weight, mask = ctx.saved_tensors
        return gradient * mask, gradient * weight, None


class Moving(nn.Module):
    """A weight under its mask while it is trained. scores, mask: of the weight's shape.

    Scores begin as magnitudes, not as zeros (Sanh et al.): training begins at the dense model, which it imitates, so
    that the first gradients are noise, and the first masks would be drawn by it. Of MiniLM with 70 % gone in 80
    steps, chance was left (23.7 % of 5 classes)."""

    mask: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(weight.abs())
        self.register_buffer("mask", torch.ones_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        masked: Tensor = _StraightThrough.apply(weight, self.scores, self.mask)
        return masked


@dataclass(frozen=True)
class PruneMovement(PruneWeights):
    """Learns a score for each weight while it recovers, and sets those of the lowest to zero, ever more of them. A
    score begins as the magnitude, and rises where training moves its weight away from zero; one that was masked may
    come back. The longer the training, and the higher its rate, the more movement says and the less magnitude does.

    The fields are those of every score of single weights; the schedule is always gradual, and wants a recovery of an
    epoch or more.
    """

    name: ClassVar[str] = "prune-movement"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "90": {"sparsity": 0.9},
    }

    recovery_epochs: float = 2.0
    schedule: str = "gradual"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gradual:
            raise ValueError("schedule = 'at-once': the scores are learnt on the way; must be 'gradual'")

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        layers = {name: surgery.get(model, name) for name in covered(model, self.embeddings)}
        for layer in layers.values():
            parametrize.register_parametrization(layer, "weight", Moving(layer.weight.detach()))
        moving = {name: layer.parametrizations.weight[0] for name, layer in layers.items()}

        def before_step(step: int, steps: int) -> None:
            if done := on_ramp(step, steps, UPDATES):
                for name, mask in self.masks(model, {}, context, done).items():
                    moving[name].mask.copy_(turned(layers[name], mask))

        recover(
            model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name,
            before_step=before_step,
        )  # fmt: skip
        masks = self.masks(model, {}, context)
        for layer in layers.values():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        zero(covered(model, self.embeddings), masks)
        return self.told(model)

    def masks(self, model: nn.Module, weights: Weights, context: Context, done: float = 1.0) -> dict[str, Tensor]:
        moving = {name: module for name, module in model.named_modules() if isinstance(module, Moving)}
        layers = {name.removesuffix(".parametrizations.weight.0"): module for name, module in moving.items()}
        scores = {name: turned(surgery.get(model, name), m.scores.detach()) for name, m in layers.items()}
        return self.choose(scores, done)
