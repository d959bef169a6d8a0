"""Attention over pooled positions against softmax, and against a plain loop in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.attention.projected import FAR, STEP, first_pools, logarithms, projected
from compressors.interface import Unsupported
from compressors.runtimes.executed import of_torch


def tensors(
    tokens: int, batch: int = 2, heads: int = 4, kept: int = 4, width: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    coin = torch.Generator().manual_seed(tokens)
    shapes = (batch, heads, tokens, width), (batch, kept, tokens, width), (batch, kept, tokens, width)
    return tuple(torch.randn(*shape, generator=coin) for shape in shapes)  # type: ignore[return-value]


def layer(pools: Tensor) -> nn.Module:
    made = nn.Module()
    made.pools = nn.Parameter(pools)
    return made


def found(pools: Tensor, given: tuple[Tensor, ...], real: Tensor | None = None, **more: Any) -> Tensor:
    """(batch, heads, queries, width)."""
    with torch.no_grad():
        return projected(layer(pools), *given, **{"causal": False, "real": real, "scale": None, **more}).transpose(1, 2)


def softmax(given: tuple[Tensor, ...], real: Tensor | None = None) -> Tensor:
    query, key, value = (part.double() for part in given)
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    scores = query @ key.mT * query.shape[-1] ** -0.5
    return (scores if real is None else scores.masked_fill(~real[:, None, None], -torch.inf)).softmax(-1) @ value


def loop(pools: Tensor, given: tuple[Tensor, ...], real: Tensor) -> Tensor:
    """The definition in float64, text by text: pools are weighted means, and count as much as weighs in them. NaN at
    padding, of which nothing is asked."""
    query, key, value = (part.double() for part in given)
    rank, places = pools.shape
    answer = torch.full_like(query, torch.nan)
    for text in range(len(query)):
        kept = real[text].nonzero()[:, 0]
        middles = (torch.arange(len(kept)) + 0.5) / len(kept)  # where a token lies in its text, from 0 to 1
        weights = (STEP * pools.double()).exp()[:, (middles * places).long().clamp(max=places - 1)]
        if len(kept) <= rank:
            weights = torch.eye(len(kept), dtype=torch.float64)
        mass = weights.sum(1)
        for head in range(query.shape[1]):
            group = head // (query.shape[1] // key.shape[1])
            pooled = [weights / mass[:, None] @ part[text, group, kept] for part in (key, value)]
            seen = (query[text, head, kept] @ pooled[0].T * query.shape[-1] ** -0.5).exp() * mass
            answer[text, head, kept] = seen / seen.sum(1, keepdim=True) @ pooled[1]
    return answer


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt() / other.square().mean().sqrt())


def test_the_more_pools_the_nearer_to_softmax() -> None:
    given = tensors(64)
    errors = [error(found(first_pools(rank, 64), given).double(), softmax(given)) for rank in (4, 8, 16, 32, 48, 64)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-6
    assert error(found(first_pools(64, 64), tensors(65)).double(), softmax(tensors(65))) < 0.3  # two of 65 share one


@pytest.mark.parametrize("places", [20, 32, 50])
def test_it_answers_as_a_plain_loop_wherever_padding_is(places: int) -> None:
    """Learnt pools, texts longer and shorter than there are places and pools, and one of padding alone."""
    pools = first_pools(6, places) + 0.1 * torch.randn(6, places, generator=torch.Generator().manual_seed(1))
    right = torch.arange(33) < torch.tensor([[33], [20], [7], [6], [5], [1], [0]])
    for real in (right, right.flip(1), right[:, torch.randperm(33, generator=torch.Generator().manual_seed(2))]):
        given = tensors(33, batch=7, kept=2)
        answer, wanted = found(pools, given, real), loop(pools, given, real)
        assert bool(answer.isfinite().all())
        assert float((answer - wanted).transpose(1, 2)[real].abs().max()) < 1e-5


def test_without_padding_it_is_as_with_a_mask_that_hides_nothing() -> None:
    given = tensors(40)
    pools = first_pools(5, 32)
    assert torch.allclose(found(pools, given), found(pools, given, torch.ones(2, 40, dtype=torch.bool)), atol=1e-6)


def test_padding_has_no_say() -> None:
    real = torch.arange(30) < torch.tensor([[30], [17]])
    given, pools = tensors(30), first_pools(5, 30)
    other = tuple(part.masked_fill(~real[:, None, :, None], 50.0) for part in given)
    found_, changed = (found(pools, of, real).transpose(1, 2)[real] for of in (given, other))
    assert torch.equal(found_, changed)


@pytest.mark.parametrize("tokens", [1, 5, 16])
def test_a_text_of_no_more_tokens_than_pools_is_answered_exactly(tokens: int) -> None:
    """By itself, and beside a longer one, from which it is padded."""
    pools, given = first_pools(16, 100), tensors(tokens, kept=2)
    assert error(found(pools, given).double(), softmax(given)) < 1e-6
    longer = tensors(40, kept=2)
    for part, short in zip(longer, given, strict=True):
        part[1, :, :tokens] = short[1]
    real = torch.arange(40) < torch.tensor([[40], [tokens]])
    answer = found(pools, longer, real)[1, :, :tokens]
    assert torch.allclose(answer.double(), softmax(given)[1], atol=1e-6)


def test_at_first_every_place_is_in_one_pool_of_neighbours() -> None:
    for rank, places in ((1, 1), (3, 10), (10, 10), (64, 512)):
        pools = first_pools(rank, places)
        own = pools.argmax(0)
        assert torch.equal(own, own.sort().values) and set(own.tolist()) == set(range(rank))
        assert torch.equal(STEP * pools, torch.where(own == torch.arange(rank)[:, None], 0.0, FAR))
        sizes = own.bincount()
        assert int(sizes.max() - sizes.min()) <= 1


def test_pools_and_what_is_pooled_can_be_learnt() -> None:
    made = layer(first_pools(4, 24))
    real = torch.arange(24) < torch.tensor([[24], [15], [0]])
    given = [part.requires_grad_() for part in tensors(24, batch=3)]
    answer = projected(made, *given, causal=False, real=real, scale=None)
    answer[:2].square().sum().backward()
    gradients = [made.pools.grad, *(part.grad for part in given)]
    assert all(found is not None and bool(found.isfinite().all()) and bool(found.any()) for found in gradients)
    assert given[1].grad is not None and not bool(given[1].grad[1, :, 15:].any())


def test_many_keys_that_are_alike_weigh_as_many() -> None:
    """A pool is no single key: of ten tokens that are one another's like, and one that is none, ten count."""
    key, value = torch.zeros(1, 1, 11, 8), torch.zeros(1, 1, 11, 8)
    value[:, :, -1] = 11.0
    pools = torch.full((2, 11), FAR)
    pools[0, :10] = pools[1, 10] = 0.0
    answer = found(pools / STEP, (torch.zeros(1, 1, 11, 8), key, value))
    assert torch.allclose(answer, torch.ones_like(answer), atol=1e-3)


def test_rounding_and_autocast() -> None:
    given, pools = tensors(40), first_pools(8, 40)
    wanted = found(pools, given)
    rounded = found(pools, tuple(part.bfloat16() for part in given))
    assert rounded.dtype == torch.bfloat16 and error(rounded.float(), wanted) < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        assert error(found(pools, given).float(), wanted) < 0.02
    assert float((logarithms(pools, 40, None).exp().sum(1) - 1).min()) > 0


def test_what_looks_back_only_or_at_another_text_is_refused() -> None:
    query, key, value = tensors(40)
    for given, causal in (((query, key, value), True), ((query[:, :, :9], key, value), False)):
        with pytest.raises(Unsupported, match="pools are of whole texts"):
            found(first_pools(4, 40), given, causal=causal)


def test_operations_grow_with_the_length() -> None:
    def operations(tokens: int) -> int:
        given = tensors(tokens)  # torch's own counter leaves attention on a CPU out
        return of_torch(nn.Module(), lambda: found(first_pools(16, 256), given)).total

    sizes = [operations(tokens) for tokens in (256, 512, 1024)]
    assert sizes[1] == 2 * sizes[0] and sizes[2] == 2 * sizes[1]
    assert sizes[2] == 2 * 16 / 1024 * 2 * 4 * 2 * 2 * 1024 * 1024 * 8  # two texts, four heads, two products; twice
