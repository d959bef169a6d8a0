"""Attention by blocks against dense attention in float64 under a mask that is written down pair by pair."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.attention import blocks
from compressors.attention.blocks import attend, block_size
from compressors.attention.pattern import Pattern
from compressors.interface import Unsupported

PATTERNS = [
    Pattern(1), Pattern(3), Pattern(16), Pattern(40), Pattern(3, first=2), Pattern(5, first=2, first_see=True),
    Pattern(2, first=9, first_see=True), Pattern(3, stride=4), Pattern(6, stride=7), Pattern(1, stride=2),
    Pattern(2, first=3, stride=5),
]  # fmt: skip


def may_see(pattern: Pattern, causal: bool, one: int, other: int) -> bool:
    """Whether the token at place `one` of a text sees the one at `other`: the definition, in words."""
    if causal and other > one:
        return False
    in_window = one - other < pattern.window if causal else abs(one - other) <= pattern.window
    by_all = other < pattern.first or (pattern.stride > 0 and other % pattern.stride == 0)
    return in_window or by_all or (pattern.first_see and not causal and one < pattern.first)


@functools.cache
def may_see_all(pattern: Pattern, causal: bool, tokens: int) -> np.ndarray:
    """The mask of a text, (tokens, tokens) bool."""
    places = range(tokens)
    return np.array([[may_see(pattern, causal, one, other) for other in places] for one in places])


def dense(
    query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, causal: bool, real: np.ndarray, scale: float
) -> np.ndarray:
    """float64, (batch, queries, heads, width), text by text. The queries are the last tokens. NaN at padding, of which
    nothing is asked."""
    q, k, v = (part.double().numpy() for part in (query, key, value))
    batch, heads, count, _ = q.shape
    keys, groups = k.shape[2], heads // k.shape[1]
    found = np.full((batch, count, heads, v.shape[3]), np.nan)
    for text in range(batch):
        begin = int(np.argmax(real[text]))
        mask = np.zeros((keys, keys), bool)
        mask[begin:, begin:] = may_see_all(pattern, causal, keys - begin)
        mask = (mask & real[text])[keys - count :]
        for head in range(heads):
            scores = np.where(mask, q[text, head] @ k[text, head // groups].T * scale, -np.inf)[real[text, -count:]]
            share = np.exp(scores - scores.max(1, keepdims=True))
            found[text, real[text, -count:], head] = share / share.sum(1, keepdims=True) @ v[text, head // groups]
    return found


def tensors(batch: int, heads: int, kept: int, count: int, keys: int, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    coin = torch.Generator().manual_seed(keys)
    shapes = (batch, heads, count, width), (batch, kept, keys, width), (batch, kept, keys, width)
    return tuple(torch.randn(*shape, generator=coin) for shape in shapes)  # type: ignore[return-value]


def check(
    given: tuple[Tensor, Tensor, Tensor], pattern: Pattern, causal: bool, real: np.ndarray | None = None, **more: Any
) -> None:
    mask = None if real is None else torch.from_numpy(real)
    found = attend(*given, pattern, causal=causal, real=mask, **more)
    assert bool(found.isfinite().all())
    everywhere = np.ones((len(given[0]), given[1].shape[2]), bool)
    scale = more.get("scale") or given[0].shape[-1] ** -0.5
    wanted = dense(*given, pattern, causal, everywhere if real is None else real, scale)
    asked = ~np.isnan(wanted)
    assert np.abs(found.numpy() - wanted)[asked].max() < 2e-6, (pattern, causal)


def lengths(pattern: Pattern) -> Iterator[int]:
    """Around the edges of blocks and windows, and shorter than either."""
    size = block_size(pattern.window)
    yield from sorted({1, 2, pattern.window, pattern.window + 1, size - 1, size, size + 1, 2 * size, 2 * size + 1, 37})


@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name.removeprefix("pressbench-"))
def test_it_answers_as_dense_attention_under_the_mask(pattern: Pattern, causal: bool) -> None:
    for tokens in lengths(pattern):
        check(tensors(1, 2, 2, tokens, tokens), pattern, causal)
        check(tensors(2, 6, 2, tokens, tokens, 5), pattern, causal, scale=0.3)  # three heads share their keys


@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name.removeprefix("pressbench-"))
def test_padding_on_either_side_is_seen_by_nobody(pattern: Pattern, causal: bool) -> None:
    """The last text is of padding alone: nothing is asked of it but that it is finite, as of all padding."""
    for tokens in (9, 33):
        index = np.arange(tokens)
        right = np.stack([index < length for length in (tokens, tokens - 1, 5, 1, 0)])
        hole = right.copy()
        hole[0, 3:6] = False
        for real in (right, right[:, ::-1].copy(), hole, np.concatenate([right, right[:, ::-1]])):
            check(tensors(len(real), 4, 2, tokens, tokens), pattern, causal, real)


@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
def test_who_would_see_nothing_sees_itself_and_a_text_of_padding_alone_is_read_as_any(causal: bool) -> None:
    """Not left to what a kernel makes of a row without a key: it may be NaN."""
    query, key, value = tensors(2, 2, 2, 20, 20)
    real = torch.arange(20) < torch.tensor([[6], [0]])
    found = attend(query, key, value, Pattern(3), causal=causal, real=real)
    assert torch.allclose(found[0, 10:], value[0, :, 10:].transpose(0, 1), atol=1e-6)
    assert torch.allclose(found[1], attend(query, key, value, Pattern(3), causal=causal)[1], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name.removeprefix("pressbench-"))
def test_the_last_tokens_of_a_text_see_what_they_would_see_with_all_the_others(pattern: Pattern, count: int) -> None:
    for keys in (count, count + 1, 19, 40):
        check(tensors(2, 4, 2, count, keys), pattern, True)
        real = np.arange(keys)[None] >= np.array([[0], [min(5, keys - 1)]])
        check(tensors(2, 4, 2, count, keys), pattern, True, real)


@pytest.mark.parametrize("first", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_keys_that_no_query_sees_may_be_gone(first: int, count: int) -> None:
    """What a bounded cache holds: the first tokens and, before the new ones, the window less one."""
    pattern, tokens = Pattern(5, first=first), 30
    query, key, value = tensors(2, 4, 2, count, tokens)
    kept = [*range(first), *range(tokens - count - 4, tokens)]
    whole = attend(query, key, value, pattern, causal=True)
    assert torch.allclose(attend(query, key[:, :, kept], value[:, :, kept], pattern, causal=True), whole, atol=1e-6)


def test_gradients_are_those_of_dense_attention_and_finite_at_padding() -> None:
    real = torch.arange(21)[None] < torch.tensor([[21], [8]])
    for pattern in (Pattern(3), Pattern(3, first=2, first_see=True), Pattern(2, stride=4)):
        given = [part.double().requires_grad_() for part in tensors(2, 2, 2, 21, 21)]
        may = torch.from_numpy(may_see_all(pattern, False, 21))
        mask = (may & real[:, None, None]) | torch.eye(21, dtype=torch.bool)
        found = attend(*given, pattern, causal=False, real=real)[real]
        wanted = F.scaled_dot_product_attention(*given, attn_mask=mask).transpose(1, 2)[real]
        ours = torch.autograd.grad(found.square().sum(), given)
        theirs = torch.autograd.grad(wanted.square().sum(), given)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, atol=1e-9)


def test_values_may_be_of_another_width_than_keys_and_numbers_of_sixteen_bits() -> None:
    query, key, value = tensors(2, 4, 2, 20, 20)
    check((query, key, torch.cat([value, value], 3)), Pattern(3, first=1), True)
    found = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), Pattern(3), causal=False)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), attend(query, key, value, Pattern(3), causal=False), atol=0.05)


def test_who_looks_at_another_text_is_refused() -> None:
    query, key, value = tensors(1, 2, 2, 4, 6)
    with pytest.raises(Unsupported, match="here they look at those of another"):
        attend(query, key, value, Pattern(2), causal=False)
    with pytest.raises(Unsupported, match="here they look at those of another"):
        attend(key, query, query, Pattern(2), causal=True)


# -- how much is computed --------------------------------------------------------------------------


def scores(monkeypatch: pytest.MonkeyPatch, pattern: Pattern, causal: bool, tokens: int) -> tuple[int, int, int]:
    """Numbers in all matrices of scores, in the largest of them, and in the largest mask."""
    seen: list[tuple[int, int]] = []
    original = F.scaled_dot_product_attention

    def counting(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **more: Any) -> Tensor:
        size = query.shape[1] * query.shape[2] * key.shape[2]
        seen.append((size, 0 if attn_mask is None else attn_mask.numel()))
        return original(query, key, value, attn_mask=attn_mask, **more)

    monkeypatch.setattr(blocks.F, "scaled_dot_product_attention", counting)
    attend(*tensors(1, 2, 2, tokens, tokens), pattern, causal=causal)
    monkeypatch.undo()
    return sum(size for size, _ in seen), max(size for size, _ in seen), max(mask for _, mask in seen)


@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.parametrize("pattern", [Pattern(8), Pattern(8, first=4), Pattern(64)], ids=lambda pattern: pattern.name)
def test_scores_grow_with_the_length_and_the_largest_matrix_of_them_does_not(
    monkeypatch: pytest.MonkeyPatch, pattern: Pattern, causal: bool
) -> None:
    sizes = {tokens: scores(monkeypatch, pattern, causal, tokens) for tokens in (256, 512, 1024, 2048)}
    for short in (256, 512, 1024):
        assert sizes[2 * short][0] < 2.3 * sizes[short][0]  # the blocks at the ends see less
        assert sizes[2 * short][1:] == sizes[short][1:]
    reach = pattern.back(causal) + pattern.ahead(causal) + 1
    assert sizes[2048][0] <= 2 * 2048 * (block_size(pattern.window) + reach + pattern.first)
    assert sizes[2048][0] < 0.12 * 2 * 2048**2


def test_what_every_token_of_a_stride_adds_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = Pattern(8), Pattern(8, stride=64)
    alone, strided = (scores(monkeypatch, pattern, True, 1024)[0] for pattern in patterns)
    seen, more = (pattern.pairs(1024, True) for pattern in patterns)
    assert 0.95 < (strided - alone) / (2 * (more - seen)) <= 1  # two heads


def test_first_tokens_look_at_all_in_one_matrix_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scores(monkeypatch, Pattern(8, first=3), False, 512)[0]
    both = scores(monkeypatch, Pattern(8, first=3, first_see=True), False, 512)[0]
    assert both - one == 2 * 3 * 512


@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name.removeprefix("pressbench-"))
def test_pairs_are_counted_as_they_are(pattern: Pattern, causal: bool) -> None:
    for tokens in (1, 7, 30, 50):
        assert pattern.pairs(tokens, causal) == may_see_all(pattern, causal, tokens).sum()
