"""Steps of a grid that are learnt with what is rounded to it (LSQ, Esser et al. 2020)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

SPEED = 10.0
"""How much faster than the weights' rate a step may grow or shrink. Adam moves every parameter by about the rate a
step of training: 1e-4 of a weight of 0.05, and of the logarithm of a step ten times that."""

FARTHEST = 8.0


class _LearntStep(torch.autograd.Function):
    """(clamp(round(w / s), low, high)) · s, straight through, with the gradient of the step of Esser et al. 2020."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, low: Tensor, high: Tensor, count: Tensor) -> Tensor:
        scaled = values / step
        codes = scaled.round().clamp(low, high)
        ctx.save_for_backward(scaled, codes, low, high, count)
        return codes * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scaled, codes, low, high, count = ctx.saved_tensors
        inside = (scaled > low) & (scaled < high)
        of_values = gradient * inside
        of_step = (gradient * codes - of_values * scaled).sum(-1, keepdim=True)
        return of_values, of_step / (count * high.clamp_min(1)).sqrt(), None, None, None


def on_learnt_step(values: Tensor, step: Tensor, low: Tensor, high: Tensor, count: Tensor) -> Tensor:
    """`values`, (…, n), at the nearest of the points from low · step to high · step. step, low, high, count: (…, 1);
    count is what the gradient of a step is divided by the square root of: the values that it rounds, of activations the
    width of a position."""
    found: Tensor = _LearntStep.apply(values, step, low, high, count)
    return found


class GrowingStep(nn.Module):
    """first: the steps to begin with, positive, float32. growth: the logarithm of each over its first, over SPEED:
    whatever is learnt, a step stays positive, and within FARTHEST times where it began."""

    first: Tensor

    def __init__(self, first: Tensor) -> None:
        super().__init__()
        self.growth = nn.Parameter(torch.zeros_like(first))
        self.register_buffer("first", first)

    def step(self) -> Tensor:
        """The steps now, in the shape of the first."""
        return self.first * (self.growth * SPEED).clamp(-math.log(FARTHEST), math.log(FARTHEST)).exp()
