"""First-order pruning: the weights go whose removal would change the loss least (Molchanov et al. 2017, ICLR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from compressors.interface import Context
from compressors.pruning.loss import LossScored, gradients
from compressors.pruning.weights import Weights


@dataclass(frozen=True)
class PruneGradient(LossScored):
    """Sets the weights of the least |w · dL/dw| to zero, then trains the others for a moment: to first order what the
    loss on the calibration data, a mean over its examples, changes by without the weight."""

    name: ClassVar[str] = "prune-gradient"

    def scores(self, model: nn.Module, weights: Weights, context: Context) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        count = len(context.require_calibration())
        for rows, found in gradients(model, weights, context, batch_size=16):
            for name, gradient in found.items():
                total[name] = total.get(name, 0) + gradient * (rows / count)
        return {name: (weights[name] * total[name]).abs() for name in weights}
