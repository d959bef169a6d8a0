"""Attention by blocks: a few queries at a time, against those keys alone that one of them may see.

Operations and memory grow with the length of a text times what a token sees. There is no mask and no matrix of scores
over all pairs of tokens; the one of a block is the largest there is.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.attention.pattern import Pattern
from compressors.interface import Unsupported

LARGEST, SMALLEST = 64, 4
"""Queries in a block, at most and at least. Of 16 to 256, 64 was fastest or near it for windows of 64 and 256 on one
thread of an AMD EPYC with AVX2, and 32 for one of 16: smaller ones are many calls, larger ones compute much that nobody
sees."""


def block_size(window: int) -> int:
    """How many queries are computed at a time."""
    return max(SMALLEST, min(LARGEST, 2 * window))


def attend(
    query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, *, causal: bool, real: Tensor | None = None,
    scale: float | None = None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """What dense attention under the pattern's mask answers, (batch, queries, heads, width).

    query: (batch, heads, queries, width). key, value: (batch, key heads, keys, width), each head for as many
    neighbouring ones of the queries. The queries are those of the last keys; where it is causal, keys between the
    pattern's first ones and the window of the first query may have been left out. real: (batch, keys) bool, False at
    padding, on whichever side; a token of padding sees itself, so that no answer is a mean over nothing. scale: of the
    scores, 1/√width where None.
    Raises Unsupported where the queries are not those of the keys, as of a decoder that looks at an encoder.
    """
    count, keys = query.shape[2], key.shape[2]
    before = keys - count  # keys without a query: those from a cache
    if before and (before < 0 or not causal):
        raise Unsupported("sparse attention is among the tokens of one text: here they look at those of another")
    if causal and count == 1 and real is None and keys <= pattern.first + pattern.window:  # as a bounded cache has it
        return _scaled_dot_product(query, key, value, None, scale, dropout)
    if real is not None:
        real = real | ~real.any(1, keepdim=True)  # a text of padding alone
    shared = Shared.of(pattern, key, value, real) if pattern.some_are_shared else None
    size, back, ahead = min(block_size(pattern.window), count), pattern.back(causal), pattern.ahead(causal)
    near = None if causal and count == 1 and real is None else _Near.of(size, back, ahead, causal, query.device)
    answers = []
    for begin in range(0, count, size):
        end = min(begin + size, count)
        first, last = before + begin, before + end - 1  # the places of the queries
        low, high = max(0, first - back), min(keys, last + ahead + 1)
        cut = slice(end - begin), slice(low - (first - back), high - (first - back))
        all_in_window = last - back <= low and first + ahead >= high - 1
        mask = None
        if near is not None and not (all_in_window and real is None):
            mask = near.in_window[cut][None]
            if shared is not None:
                mask = mask | (near.not_ahead[cut] & shared.among[:, None, low:high])
            if real is not None:
                mask = mask & real[:, None, low:high] | near.own[cut]
        seen = key[:, :, low:high], value[:, :, low:high]
        if shared is not None:
            seen, mask = shared.beside(seen, mask, low, high, causal)
        answers.append(_scaled_dot_product(query[:, :, begin:end], *seen, mask, scale, dropout))
    answer = answers[0] if len(answers) == 1 else torch.cat(answers, 1)
    if pattern.first_see and not causal:
        answer = _with_first(answer, query, key, value, pattern, real, scale, dropout)
    return answer


@dataclass(frozen=True)
class _Near:
    """Of the queries of any block, (queries, keys) bool each, and the keys from the first that the first query's window
    reaches to the last that the last one's does: whose window holds which, which is not ahead where none may look
    there, and which is its own."""

    in_window: Tensor
    not_ahead: Tensor
    own: Tensor

    @classmethod
    def of(cls, size: int, back: int, ahead: int, causal: bool, device: torch.device) -> _Near:
        rows = torch.arange(size, device=device)[:, None] + back
        columns = torch.arange(size + back + ahead, device=device)
        in_window = (columns >= rows - back) & (columns <= rows + ahead)
        return cls(in_window, columns <= rows if causal else torch.ones_like(in_window), columns == rows)


@dataclass(frozen=True)
class Shared:
    """The tokens that all see.

    places: where they are in a text. at: (1 or batch, count) int64, where that is among the keys, beyond the last for a
    text that has not so many: one row unless texts begin at different keys. real: (batch, count) bool, or None where
    all are. key, value: (batch, key heads, count, width). keys: how many there are in all.
    """

    places: list[int]
    at: Tensor
    real: Tensor | None
    key: Tensor
    value: Tensor
    keys: int

    @classmethod
    def of(cls, pattern: Pattern, key: Tensor, value: Tensor, real: Tensor | None) -> Shared:
        """Those of the pattern among these keys."""
        keys, places = key.shape[2], pattern.shared(key.shape[2])
        at = torch.tensor(places, device=key.device)[None]
        if (begin := _begin(real)) is not None:
            at = (at + begin[:, None]).clamp(max=keys)
        there = at.clamp(max=keys - 1)
        seen = None if real is None else real.gather(1, there.expand(len(real), -1)) & (at < keys)
        return cls(places, at, seen, _rows(key, there), _rows(value, there), keys)

    @cached_property
    def among(self) -> Tensor:
        """Which keys they are, (1 or batch, keys) bool."""
        none = torch.zeros(len(self.at), self.keys + 1, dtype=torch.bool, device=self.at.device)
        return none.scatter(1, self.at, True)[:, : self.keys]

    def beside(
        self, seen: tuple[Tensor, Tensor], mask: Tensor | None, low: int, high: int, causal: bool
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Keys and values from `low` to `high`, and those of them that lie elsewhere and not ahead of who may not look
        there; and the mask for both. mask: (1 or batch, queries, high - low), or None where all is seen and real."""
        if len(self.at) == 1:
            left, right = bisect_left(self.places, low), len(self.places)
            if not causal:
                right = bisect_left(self.places, high)
            chosen = [*range(left), *range(right, len(self.places))] if right < len(self.places) else slice(left)
            may = None if self.real is None else self.real[:, chosen]
        else:
            chosen = slice(None)
            elsewhere = self.at < low if causal else (self.at < low) | (self.at >= high)
            may = elsewhere if self.real is None else elsewhere & self.real
        more = self.key[:, :, chosen], self.value[:, :, chosen]
        if not more[0].shape[2]:
            return seen, mask
        if mask is not None:
            may = mask.new_ones(1, more[0].shape[2]) if may is None else may
            shape = max(len(may), len(mask)), mask.shape[1], -1
            mask = torch.cat([may[:, None].expand(shape), mask.expand(shape)], -1)
        return (torch.cat([more[0], seen[0]], 2), torch.cat([more[1], seen[1]], 2)), mask


def _begin(real: Tensor | None) -> Tensor | None:
    """Where each text begins, (batch,) int64; None where all begin with the first key."""
    if real is None or bool(real[:, 0].all()):
        return None
    return real.int().argmax(1)


def _rows(values: Tensor, at: Tensor) -> Tensor:
    """Those of the tokens at these places. values: (batch, heads, tokens, width). at: (1 or batch, count)."""
    batch, heads, _, width = values.shape
    if len(at) == 1:
        return values[:, :, at[0]]
    return values.gather(2, at[:, None, :, None].expand(batch, heads, -1, width))


def _scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None, dropout: float
) -> Tensor:
    """torch's, (batch, queries, heads, width). mask: (1 or batch, queries, keys) bool, or None. The queries of heads
    that share their keys are laid one below the other, so that no key is copied."""
    batch, heads, count, width = query.shape
    groups = heads // key.shape[1]
    if groups > 1:
        query = query.reshape(batch, -1, groups * count, width)
        mask = None if mask is None else mask.repeat(1, groups, 1)
    mask = None if mask is None else mask[:, None]
    answer = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale)
    return answer.reshape(batch, -1, groups, count, value.shape[-1]).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _with_first(
    answer: Tensor, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, real: Tensor | None,
    scale: float | None, dropout: float,
) -> Tensor:  # fmt: skip
    """The answer with that of the first tokens of each text to all others in its place."""
    keys, begin = key.shape[2], _begin(real)
    at = torch.arange(min(pattern.first, keys), device=key.device)[None]
    if begin is not None:
        at = (at + begin[:, None]).clamp(max=keys - 1)  # beyond the end: the last, which then is one of the first
    mask = None if real is None else real[:, None]
    if mask is not None:
        mask = mask.expand(-1, at.shape[1], -1)
    found = _scaled_dot_product(_rows(query, at), key, value, mask, scale, dropout)
    return answer.scatter(1, at[:, :, None, None].expand(found.shape), found)
