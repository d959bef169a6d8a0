"""attention-projected: keys and values pooled over positions (Linformer, Wang et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.attention.approximate import ApproximateAttention, dense, lengths
from compressors.attention.features import NOTHING
from compressors.attention.registered import set_attention
from compressors.interface import Context, Unsupported

FAR, STEP = -12.0, 100.0
"""The logarithm of what a position weighs at first in a pool that is not its own, and what the parameter is multiplied
by to be a logarithm: Adam moves a number by the learning rate at a step, in which a logarithm would never get far."""


def first_pools(rank: int, places: int) -> Tensor:
    """(rank, places) float32, the parameter at first: each place belongs to one pool, of neighbours."""
    own = (2 * torch.arange(places) + 1) * rank // (2 * places)
    return torch.where(own == torch.arange(rank)[:, None], 0.0, FAR / STEP)


def logarithms(pools: Tensor, keys: int, real: Tensor | None) -> Tensor:
    """(batch or 1, rank, keys): of what each key weighs in each pool. A text is stretched over the places that there
    are, from its first token to its last, wherever padding is; one of no more tokens than pools has a pool for each."""
    rank, places = pools.shape
    length = lengths(real, keys, pools.device)
    place = torch.arange(keys, device=pools.device)[None] if real is None else (real.cumsum(1) - 1).clamp_min(0)
    column = ((2 * place + 1) * places // (2 * length)).clamp(max=places - 1)
    logs = STEP * pools.float().T[column].mT
    own = place[:, None] == torch.arange(rank, device=pools.device)[:, None]
    logs = torch.where((length <= rank)[..., None], torch.where(own, 0.0, NOTHING), logs)
    return logs if real is None else logs.masked_fill(~real[:, None], NOTHING)


def projected(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, real: Tensor | None,
    scale: float | None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """See `registered.Attention`. Unlike Linformer's a pool is a mean: its weights are positive, padding has none, and
    it counts in the softmax as much as weighs in it, so that many keys that are alike are not taken for one."""
    pools: Any = module.pools
    if causal or query.shape[2] != key.shape[2]:
        raise Unsupported("pools are of whole texts: here tokens look back only, or at another text")
    if key.shape[2] <= len(pools):
        return dense(query, key, value, real, scale).transpose(1, 2)
    with torch.autocast(query.device.type, enabled=False):
        logs = logarithms(pools, key.shape[2], real)
        mass = logs.logsumexp(-1, keepdim=True)
        shares = (logs - mass).exp()[:, None].to(key.dtype)
    bias = mass.mT[:, None].to(query.dtype)  # (batch or 1, 1, 1, rank)
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, shares @ key, shares @ value, attn_mask=bias, scale=scale, enable_gqa=grouped
    ).transpose(1, 2)


@dataclass(frozen=True)
class AttentionProjected(ApproximateAttention):
    """Keys and values are pooled over positions before queries look at them: at first so many means of neighbours, and
    which position weighs how much in which pool is learnt in recovery, by each layer for itself. For encoders.

    rank: how many pools; a text of no more tokens is answered exactly. recovery_epochs, learning_rate, adapter_rank: of
    the recovery; adapters leave the pools as they are at first.
    """

    name: ClassVar[str] = "attention-projected"
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank": (128, 64, 32, 16)}

    rank: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValueError(f"rank = {self.rank!r}: must be at least 1 pool")

    def check(self, model: nn.Module) -> bool:
        if super().check(model):
            raise surgery.UnknownStructure(
                "its tokens look back only: a pool holds tokens from the whole text, of which some are still to come"
            )
        return False

    def structure(self, model: nn.Module, context: Context) -> dict[str, Any]:
        return {"places": max(self.rank, _tokens(model, context))}

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        for module in model.modules():
            if hasattr(module, "is_causal"):
                device = next(module.parameters()).device
                module.pools = nn.Parameter(first_pools(self.rank, int(structure["places"])).to(device))
        set_attention(model, "pressbench-projected", projected)
        return model


@torch.no_grad()
def _tokens(model: nn.Module, context: Context) -> int:
    """How many tokens the calibration examples have, padding with them; patches of an image."""
    example = context.require_calibration()[:1].inputs
    states: Tensor = model(**example, output_hidden_states=True).hidden_states[-1]
    return states.shape[1]
