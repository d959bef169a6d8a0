"""attention-hashed: tokens look at those that fall into the same cluster as they do, in any of several rounds (SMYRF,
Daras et al. 2020; Reformer, Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.attention.approximate import ApproximateAttention, dense, lengths
from compressors.attention.features import NOTHING
from compressors.attention.registered import set_attention
from compressors.interface import Context, Unsupported


def ranks(query: Tensor, key: Tensor, real: Tensor | None, rounds: int, seed: int) -> tuple[Tensor, Tensor]:
    """Where each query and each key comes in each round, (batch, heads, rounds, tokens) int64 each, padding last.

    A round draws a random direction and puts tokens in the order of where they lie along it. Both get two more numbers
    first, after which the nearest key is the one with the largest product (SMYRF); Reformer's own order wants queries
    that are their keys, which a model that was not made for it has not."""
    coin = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rounds, query.shape[-1] + 2, generator=coin).to(query.device)
    sizes = [x.square().sum(-1, keepdim=True) for x in (query, key)]
    if real is not None:
        sizes = [squares.masked_fill(~real[:, None, :, None], 0) for squares in sizes]
    largest = sum(squares.amax(2, keepdim=True) for squares in sizes)
    rest = [(largest - squares).sqrt() for squares in sizes]
    found = []
    for longer in (
        torch.cat([query, torch.zeros_like(rest[0]), rest[0]], -1),
        torch.cat([key, rest[1], torch.zeros_like(rest[1])], -1),
    ):
        along = (longer @ drawn.T).mT
        if real is not None:
            along = along.masked_fill(~real[:, None, None], torch.inf)
        found.append(along.argsort(dim=-1, stable=True).argsort(-1))
    return found[0], found[1]


@dataclass(frozen=True)
class Clusters:
    """How a text's ranks are cut into clusters, as few as have `size` tokens at most, and alike in size.

    members: (batch or 1, 1) int64, tokens of each but the last. rank: (batch or 1, clusters · size) int64, of which
    token is in each slot of each cluster. there: as that, bool, whether there is one."""

    size: int
    members: Tensor
    rank: Tensor
    there: Tensor

    @classmethod
    def of(cls, length: Tensor, tokens: int, size: int) -> Clusters:
        """length: (batch or 1, 1), tokens of each text; tokens: of the longest, with its padding."""
        members = -(-length // -(-length // size))
        number = torch.arange(-(-tokens // size) * size, device=length.device)[None]
        slot = number % size
        rank = number // size * members + slot
        return cls(size, members, rank, (slot < members) & (rank < length))

    def slots(self, ranks: Tensor) -> Tensor:
        """The slot of each token, (batch, heads, rounds, tokens). Padding is anywhere."""
        members = self.members[:, None, None]
        found = ranks // members * self.size + ranks % members
        return found.clamp(max=self.rank.shape[1] - 1)

    def tokens(self, ranks: Tensor) -> Tensor:
        """The token in each slot, (batch, heads, rounds, clusters · size)."""
        order = ranks.argsort(-1)
        wanted = self.rank.clamp(max=ranks.shape[-1] - 1)[:, None, None]
        return order.gather(-1, wanted.expand(*ranks.shape[:3], -1))


def hashed(
    rounds: int, size: int, seed: int, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *, causal: bool,
    real: Tensor | None, scale: float | None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """See `registered.Attention`. A key found in several rounds counts once, so that with enough of them this is
    softmax."""
    if causal or query.shape[2] != key.shape[2]:
        raise Unsupported("clusters are of whole texts: here tokens look back only, or at another text")
    tokens, width = query.shape[2:]
    if tokens <= size:
        return dense(query, key, value, real, scale).transpose(1, 2)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    with torch.autocast(query.device.type, enabled=False):
        q, k, v = query.float(), key.float(), value.float()
        clusters = Clusters.of(lengths(real, tokens, query.device), tokens, size)
        with torch.no_grad():
            ranked = ranks(q, k, real, rounds, seed)
            q_rows, k_rows = (clusters.tokens(of) for of in ranked)
            times = _times_met([of // clusters.members[:, None, None] for of in ranked], (q_rows, k_rows), size)
        scores = _at(q, q_rows, size) @ _at(k, k_rows, size).mT * (width**-0.5 if scale is None else scale)
        there = clusters.there.unflatten(1, (-1, 1, size))[:, None, None]
        scores = (scores - times.log()).masked_fill(~there, NOTHING)
        mass = scores.logsumexp(-1, keepdim=True)
        found = torch.cat([(scores - mass).exp() @ _at(v, k_rows, size), mass], -1).flatten(3, 4)
        slots = clusters.slots(ranked[0])[..., None].expand(-1, -1, -1, -1, found.shape[-1])
        found = found.gather(3, slots)  # (batch, heads, rounds, tokens, width + 1)
        answer = (found[..., -1:].softmax(2) * found[..., :-1]).sum(2)
    return answer.to(value.dtype).transpose(1, 2)


def _at(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """(batch, heads, rounds, clusters, size, width): those of the tokens that are in the clusters. values: (batch,
    heads, tokens, width). rows: (batch, heads, rounds, clusters · size)."""
    flat = rows.flatten(2)[..., None].expand(-1, -1, -1, values.shape[-1])
    return values.gather(2, flat).unflatten(2, (rows.shape[2], -1, size))


def _times_met(numbers: list[Tensor], rows: tuple[Tensor, Tensor], size: int) -> Tensor:
    """(batch, heads, rounds, clusters, size, size) float32: in how many rounds the query and the key are in one
    cluster, 1 at least. numbers: the clusters of queries and of keys, (batch, heads, rounds, tokens)."""
    total: Tensor | None = None
    for number in range(numbers[0].shape[2]):
        mine, its = (_at(of[:, :, number, :, None], r, size) for of, r in zip(numbers, rows, strict=True))
        met = (mine == its.mT).float()
        total = met if total is None else total + met
    assert total is not None
    return total.clamp_min(1)


@dataclass(frozen=True)
class AttentionHashed(ApproximateAttention):
    """Queries and keys are put into clusters of equal size by where they lie along random directions, so that those
    with a large product are likely together; a query looks at the keys of its clusters. For encoders.

    rounds: how often clusters are made; size: tokens of one, at most. A text of no more tokens is answered exactly. The
    directions are drawn from the seed. recovery_epochs, learning_rate, adapter_rank: of the recovery.
    """

    name: ClassVar[str] = "attention-hashed"
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rounds": (8, 4, 2, 1)}

    rounds: int = 4
    size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("rounds", "size"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} = {getattr(self, field)!r}: must be at least 1")

    def check(self, model: nn.Module) -> bool:
        if super().check(model):
            raise surgery.UnknownStructure(
                "its tokens look back only: where one cluster ends and the next begins depends on tokens still to come"
            )
        return False

    def structure(self, model: nn.Module, context: Context) -> dict[str, Any]:
        return {"seed": context.seed}

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        seed = int(structure["seed"])
        name = f"pressbench-hashed-{self.rounds}-{self.size}-{seed}"
        set_attention(model, name, partial(hashed, self.rounds, self.size, seed))
        return model
