"""Low rank, weighed by the Fisher information: what the loss does not feel is given up first.

Source: FWSVD (Hsu et al. 2022, ICLR). An error in a row of a weight counts as the loss on the calibration data feels
that row: the sum over its weights of their squared gradients, each example's its own. One number a row keeps the
problem an SVD: D W = U S Vᵀ and W ≈ D⁻¹ U_r S_r V_rᵀ, D² those sums. Where the loss does not feel a row at all D cannot
be inverted; see `factorise_by_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Compressed, Context, Hardware, ModelSpec
from compressors.low_rank.factors import by_rows, factorise_by_rows, spectrum
from compressors.low_rank.layers import LowRankLayers, replace_all
from compressors.pruning.loss import gradients
from compressors.pruning.weights import covered


@dataclass(frozen=True)
class LowRankFisher(LowRankLayers):
    """Factorises the linear layers of every block, each row weighed by its Fisher information, and recovers by
    distillation. For models with a loss and calibration data with labels.

    rank_ratio, allocation, recovery_epochs, learning_rate: as `LowRankLayers` has them.
    """

    name: ClassVar[str] = "low-rank-fisher"

    @property
    def finds_by(self) -> Mapping[str, Any]:
        return {}

    def find(self, model: nn.Module, context: Context) -> dict[str, Tensor]:
        """Layer -> for each of its outputs the sum over its weights of the mean over the calibration examples of the
        squared gradient of each one's loss, (outputs,) float32."""
        fisher: dict[str, Tensor] = {}
        count = len(context.require_calibration())
        for _, found in gradients(model, covered(model, embeddings=False), context, batch_size=1):
            for name, gradient in found.items():
                fisher[name] = fisher.get(name, 0) + gradient.float().square().sum(1) / count
        return fisher

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if model.output != "logits":
            return "its answers are hidden states: the Fisher information needs labels and a loss"
        return super().supports(model, hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        fisher = self.findings(model, context)
        self.check_finite("the gradient, on the calibration data,", fisher)
        ranks = self.ranks(
            model, lambda name: spectrum(by_rows(surgery.get(model, name).weight.detach(), fisher[name]))
        )
        replace_all(model, ranks, lambda name, weight, rank: factorise_by_rows(weight, rank, fisher[name]), context)
        return self.recovered(model, ranks, context)
