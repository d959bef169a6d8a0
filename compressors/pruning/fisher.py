"""Pruning by the diagonal of the empirical Fisher: optimal brain damage (LeCun et al. 1990; Kurtic et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from compressors.interface import Context
from compressors.pruning.loss import LossScored, gradients
from compressors.pruning.weights import Weights


@dataclass(frozen=True)
class PruneFisher(LossScored):
    """Sets the weights of the least w² · F to zero, then trains the others for a moment. F is the mean over the
    calibration examples of the squared gradient of each one's loss, which stands for the loss's second derivative."""

    name: ClassVar[str] = "prune-fisher"

    def scores(self, model: nn.Module, weights: Weights, context: Context) -> dict[str, Tensor]:
        fisher: dict[str, Tensor] = {}
        count = len(context.require_calibration())
        for _, found in gradients(model, weights, context, batch_size=1):
            for name, gradient in found.items():
                fisher[name] = fisher.get(name, 0) + gradient.square() / count
        return {name: weights[name].square() * fisher[name] for name in weights}
