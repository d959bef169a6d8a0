"""Low rank: the weight of a linear layer becomes a product of two thin ones.

Sources: Eckart and Young 1936 for the plain truncated SVD; SVD-LLM (Wang et al. 2024) for weighing the
error by the activations, so that what is kept is what the layer's real inputs excite. Covers the linear
layers of the Transformer blocks; embeddings stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import all_at_once
from compressors.interface import Compressed, Context
from compressors.low_rank.factors import factorise, on_inputs, spectrum
from compressors.low_rank.layers import LowRankLayers, replace_all
from compressors.moments import second_moments


@dataclass(frozen=True)
class LowRankSvd(LowRankLayers):
    """Factorises the linear layers of every block and recovers by distillation.

    rank_ratio: rank as a share of a layer's narrower side, 0 to 1. Two factors are smaller than one layer
    below out / (in + out): half for a square layer, 0.8 for one four times as wide as high; a layer
    that would not shrink is left alone. activation_aware: weigh the error by the calibration data's
    activations. allocation: "uniform", or "budget": as many weights, given to the layers that lose most without them.
    recovery_epochs, learning_rate: of the distillation.
    """

    name: ClassVar[str] = "low-rank-svd"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "plain": {"activation_aware": False},
        "quarter": {"rank_ratio": 0.25},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "alone": {"recovery_epochs": 0.0},
        "budget": {"allocation": "budget"},
    }

    activation_aware: bool = True
    allocation: Literal["uniform", "budget"] = "uniform"

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        covered = self.covered(model)
        moments: Mapping[str, Tensor] = {}
        if self.activation_aware:
            moments = second_moments(all_at_once(model, context), covered)
            self.check_finite("what the calibration data gives the inputs", moments)

        def moment(name: str) -> Tensor | None:
            return moments[name] if self.activation_aware else None

        ranks = self.ranks(
            model, lambda name: spectrum(on_inputs(surgery.get(model, name).weight.detach(), moment(name)))
        )
        replace_all(model, ranks, lambda name, weight, rank: factorise(weight, rank, moment(name)), context)
        return self.recovered(model, ranks, context)
