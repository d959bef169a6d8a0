"""attention-linear: positive random features in the place of softmax (FAVOR+, Performer; Choromanski et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors.attention.approximate import ApproximateAttention
from compressors.attention.features import attend, directions
from compressors.attention.registered import set_attention
from compressors.attention.sums import SumsLayer
from compressors.interface import Context, Unsupported
from compressors.runtimes.generation import generates, layered


def linear(
    features: int, seed: int, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *, causal: bool,
    real: Tensor | None, scale: float | None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """See `registered.Attention`. Heads that share their keys share the sums over them. There are no weights that
    dropout could take from."""
    queries, width = query.shape[2:]
    if queries != key.shape[2] and not (causal and queries < key.shape[2]):
        raise Unsupported("attention by features is among the tokens of one text: here they look at those of another")
    root = (width**-0.5 if scale is None else scale) ** 0.5
    layer = SumsLayer.of(key)
    with torch.autocast(query.device.type, enabled=False):  # which would round logarithms to 8 bits
        answer, sums = attend(
            query.float().unflatten(1, (key.shape[1], -1)) * root, key.float()[:, :, None] * root,
            value.float()[:, :, None], directions(features, width, seed, query.device), causal=causal,
            real=None if real is None else real[:, None, None], before=layer.sums if layer else None,
        )  # fmt: skip
    if layer:
        layer.keep(sums)
    return answer.to(value.dtype).flatten(1, 2).transpose(1, 2)


@dataclass(frozen=True)
class AttentionLinear(ApproximateAttention):
    """The weight of a key, exp(q·k), becomes a product of random features of q and of k, whose mean it is. Keys and
    values are summed up by feature, once, and every query asks the sums. Where a model reads from left to right its
    key-value cache is these sums, which do not grow.

    features: how many for each head; the error of a weight falls with their root, and grows fast with how large queries
    and keys are. They are drawn from the seed, the same for all heads and layers. recovery_epochs, learning_rate,
    adapter_rank: of the recovery.
    """

    name: ClassVar[str] = "attention-linear"
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"features": (256, 128, 64, 32)}

    features: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features < 1:
            raise ValueError(f"features = {self.features!r}: must be at least 1")

    def structure(self, model: nn.Module, context: Context) -> dict[str, Any]:
        return {"seed": context.seed}

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        seed = int(structure["seed"])
        set_attention(model, f"pressbench-linear-{self.features}-{seed}", partial(linear, self.features, seed))
        made: Any = model
        if generates(model):
            made.own_cache = layered(model, SumsLayer)
        return model
