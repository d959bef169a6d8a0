"""Low rank: the weight of a linear layer becomes a product of two thin ones.

Sources: Eckart and Young 1936 for the plain truncated SVD; SVD-LLM (Wang et al. 2024) for weighing the
error by the activations, so that what is kept is what the layer's real inputs excite. Covers the linear
layers of the Transformer blocks; embeddings stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import all_at_once, second_moments
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.recovery import check_recovery, recover

MULTIPLE = 8
"""Ranks are rounded to a multiple of this: a product's kernel works on whole vectors of them."""


def factorise(weight: Tensor, rank: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(second, first) with second @ first closest to `weight`: (out, rank), (rank, in), float32.

    weight: (out, in). moment: (in, in), the inputs' second moment E[x xᵀ] or a multiple of it, or None for
    the identity. No other pair has a smaller mean of |W x - second @ first @ x|² over inputs with that
    moment; without one, a smaller Frobenius norm of the difference.

    With S Sᵀ the moment, that is the truncated SVD of W S, and its left factor U gives W ≈ U Uᵀ W. So S is
    never inverted, and inputs that never vary (a dead neuron) do no harm, unlike in a Cholesky whitening.
    """
    matrix = weight.double()
    target = matrix if moment is None else matrix @ _root(moment.double())
    left = torch.linalg.svd(target, full_matrices=False).U[:, :rank]
    return left.float(), (left.T @ matrix).float()


def _root(moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(moment)
    return vectors * values.clamp(min=0).sqrt()


class LowRankLinear(nn.Module):
    """Two linear layers, in -> rank -> out, in the place of one: (…, in) -> (…, out). Made with the shapes,
    device and type of `layer`, with values that mean nothing yet."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.first = nn.Linear(layer.in_features, rank, bias=False, **where)
        self.second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **where)

    @property
    def weight(self) -> Tensor:
        """Of the type and on the device that its weights are of, which T5 asks of a layer at every pass; not their
        product, which would cost as much as the pass."""
        return self.second.weight

    @classmethod
    def of(cls, layer: nn.Linear, rank: int, moment: Tensor | None = None) -> LowRankLinear:
        """The best stand-in for `layer`, see `factorise`. The bias goes to the second."""
        thin = cls(layer, rank)
        second, first = factorise(layer.weight.detach(), rank, moment)
        with torch.no_grad():
            thin.first.weight.copy_(first)
            thin.second.weight.copy_(second)
            if layer.bias is not None:
                thin.second.bias.copy_(layer.bias)
        return thin

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        return self.second(self.first(values))


def rank_for(layer: nn.Linear, ratio: float) -> int | None:
    """The rank that `ratio` of the narrower side means, or None where two factors would be no smaller."""
    narrow = min(layer.in_features, layer.out_features)
    rank = max(1, round(ratio * narrow / MULTIPLE) * MULTIPLE or round(ratio * narrow))
    return rank if rank * (layer.in_features + layer.out_features) < layer.weight.numel() else None


@dataclass(frozen=True)
class LowRankSvd(Compressor):
    """Factorises the linear layers of every block and recovers by distillation.

    rank_ratio: rank as a share of a layer's narrower side, 0 to 1. Two factors are smaller than one layer
    below out / (in + out): half for a square layer, 0.8 for one four times as wide as high; a layer
    that would not shrink is left alone. activation_aware: weigh the error by the calibration data's
    activations. recovery_epochs, learning_rate: of the distillation.
    """

    name: ClassVar[str] = "low-rank-svd"
    family: ClassVar[str] = "low-rank"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "plain": {"activation_aware": False},
        "quarter": {"rank_ratio": 0.25},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank_ratio": (0.42, 0.33, 0.25, 0.15)}

    rank_ratio: float = 0.42
    activation_aware: bool = True
    recovery_epochs: float = 0.5
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        if not 0 < self.rank_ratio < 1:
            raise ValueError(f"rank_ratio = {self.rank_ratio!r}: must lie between 0 and 1, both excluded")
        check_recovery(self.recovery_epochs, self.learning_rate)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self._ranks)

    def _ranks(self, model: nn.Module) -> dict[str, int]:
        surgery.as_linears(model)
        ranks = {name: rank_for(surgery.get(model, name), self.rank_ratio) for name in surgery.block_linears(model)}
        chosen = {name: rank for name, rank in ranks.items() if rank}
        if not chosen:
            reason = f"rank_ratio {self.rank_ratio} makes no layer of {type(model).__name__} smaller"
            raise surgery.UnknownStructure(reason)
        return chosen

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        ranks = self._ranks(model)
        moments: Mapping[str, Tensor] = {}
        if self.activation_aware:
            moments = second_moments(all_at_once(model, context), list(ranks))
        for done, (name, rank) in enumerate(ranks.items()):
            thin = LowRankLinear.of(surgery.get(model, name), rank, moments.get(name))
            surgery.replace(model, name, thin)
            context.progress("factorising", done + 1, len(ranks))
        recover(model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name)
        return Compressed(model, {"ranks": ranks})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name, rank in structure["ranks"].items():
            surgery.replace(model, name, LowRankLinear(surgery.get(model, name), rank))
        return model
