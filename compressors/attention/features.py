"""Attention by positive random features (FAVOR+, Performer; Choromanski et al. 2021): exp(q·k) as a product of
something of q and something of k, so that keys can be summed up before queries look at them.

Features are kept as logarithms, and every sum under the largest that is in it: one token with a large key then takes
nothing from the others, and no query divides by nearly nothing. Where tokens look back only, what a query answers has
nothing in it of a key behind it, not even a scale.

Shapes: query (…, queries, width), key and value (…, keys, width); leading axes may be 1 on one side.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 64
"""Queries of a text read from left to right that are taken together: among them by pairs, to those before by their
sums."""

NOTHING = -1e30
"""The logarithm of what padding weighs. Not minus infinity, of which two would make a NaN."""


@functools.lru_cache(maxsize=16)
def directions(count: int, width: int, seed: int, device: torch.device) -> Tensor:
    """(count, width) float32: random directions, orthogonal within each `width` of them, as long as those of a normal
    distribution are. Orthogonal ones miss by less (Choromanski et al. 2021). The same on every device."""
    coin = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():  # kept, and then used where there are gradients
        found = []
        for _ in range(-(-count // width)):
            square, triangle = torch.linalg.qr(torch.randn(width, width, generator=coin, dtype=torch.float64))
            # The signs that QR chose would leave half of all directions out, and exp is not the same on both sides.
            found.append((square * triangle.diagonal().sign()).T)
        lengths = torch.randn(count, width, generator=coin, dtype=torch.float64).norm(dim=1, keepdim=True)
        return (torch.cat(found)[:count] * lengths).float().to(device)


def logarithms(x: Tensor, drawn: Tensor) -> Tensor:
    """(…, tokens, features): w·x − x²/2. Over directions w of a normal distribution, the mean of exp of those of q plus
    those of k is exp(q·k). x: (…, tokens, width), times the root of what scores are multiplied by. drawn: (features,
    width)."""
    return x @ drawn.T - 0.5 * x.square().sum(-1, keepdim=True)


class Sums(NamedTuple):
    """What is left of keys that were seen. tops: (…, 1, features), the largest logarithm of each feature. held: (…,
    features, width + 1), the sums over keys of feature / exp(top) times value, and behind these times 1."""

    tops: Tensor
    held: Tensor


def summed(of_key: Tensor, held: Tensor, before: Sums | None = None) -> Sums:
    """The sums of these keys and those before. of_key: (…, keys, features), logarithms. held: (…, keys, width + 1)."""
    tops = of_key.detach().amax(-2, keepdim=True)
    if before is None:
        return Sums(tops, (of_key - tops).exp().mT @ held)
    tops = torch.maximum(tops, before.tops)
    return Sums(tops, (of_key - tops).exp().mT @ held + (before.tops - tops).exp().mT * before.held)


def asked(of_query: Tensor, sums: Sums) -> tuple[Tensor, Tensor]:
    """What queries find in sums, (…, queries, width + 1), and the logarithms of what that is to be multiplied by,
    (…, queries, 1). The last number found is 1 at least, where there was a key."""
    logs = of_query + sums.tops
    tops = logs.detach().amax(-1, keepdim=True)
    return (logs - tops).exp() @ sums.held, tops


def attend(
    query: Tensor, key: Tensor, value: Tensor, drawn: Tensor, *, causal: bool, real: Tensor | None = None,
    before: Sums | None = None,
) -> tuple[Tensor, Sums]:  # fmt: skip
    """The answers, (…, queries, width), and the sums of all keys. Queries and keys are times the root of the scale. The
    queries are those of the last keys. real: as the keys' leading axes and (…, keys), False at padding. before: sums of
    keys before the first one, where it is causal."""
    of_query, of_key = logarithms(query, drawn), logarithms(key, drawn)
    if real is not None:
        of_key = of_key.masked_fill(~real[..., None], NOTHING)
    held = torch.cat([value, torch.ones_like(value[..., :1])], -1)
    if not causal:
        before = summed(of_key, held)
        found, _ = asked(of_query, before)
        return found[..., :-1] / found[..., -1:], before
    queries, old, answers = query.shape[-2], key.shape[-2] - query.shape[-2], []
    if old:
        before = summed(of_key[..., :old, :], held[..., :old, :], before)
    for start in range(0, queries, PIECE):
        here = slice(old + start, old + min(start + PIECE, queries))
        piece = of_key[..., here, :], held[..., here, :]
        answers.append(_look_back(of_query[..., start : start + PIECE, :], *piece, before))
        before = summed(*piece, before)
    assert before is not None
    return torch.cat(answers, -2), before


def _look_back(of_query: Tensor, of_key: Tensor, held: Tensor, before: Sums | None) -> Tensor:
    """What tokens answer that look at themselves, at those of them that are before, and at sums."""
    logs = _log_product(of_query, of_key)
    count = logs.shape[-1]
    ahead = torch.ones(count, count, dtype=torch.bool, device=logs.device).triu(1)
    logs = logs.masked_fill(ahead, -torch.inf)
    tops = logs.detach().amax(-1, keepdim=True)
    if before is None:
        found = (logs - tops).exp() @ held
    else:
        far, far_tops = asked(of_query, before)
        tops = torch.maximum(tops, far_tops)
        found = (logs - tops).exp() @ held + (far_tops - tops).exp() * far
    return found[..., :-1] / found[..., -1:]


def _log_product(of_query: Tensor, of_key: Tensor) -> Tensor:
    """(…, queries, keys): log Σ exp(of_query + of_key) over features, under the largest of each query and each key."""
    q_tops, k_tops = (logs.detach().amax(-1, keepdim=True) for logs in (of_query, of_key))
    shares = (of_query - q_tops).exp() @ (of_key - k_tops).exp().mT
    return shares.clamp_min(torch.finfo(shares.dtype).tiny).log() + q_tops + k_tops.mT
