"""Attention within clusters against softmax, and against a plain loop in float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressors.attention.hashed import hashed, ranks
from compressors.interface import Unsupported

LAYER = nn.Module()


def tensors(
    tokens: int, batch: int = 2, heads: int = 4, kept: int = 4, width: int = 8, spread: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    coin = torch.Generator().manual_seed(tokens)
    shapes = (batch, heads, tokens, width), (batch, kept, tokens, width), (batch, kept, tokens, width)
    query, key, value = (torch.randn(*shape, generator=coin) for shape in shapes)
    return spread * query, spread * key, value


def found(rounds: int, size: int, given: tuple[Tensor, ...], real: Tensor | None = None, **more: Any) -> Tensor:
    """(batch, heads, queries, width)."""
    given_more = {"causal": False, "real": real, "scale": None, **more}
    return hashed(rounds, size, given_more.pop("seed", 0), LAYER, *given, **given_more).transpose(1, 2)


def softmax(given: tuple[Tensor, ...], real: Tensor | None = None) -> Tensor:
    query, key, value = (part.double() for part in given)
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    scores = query @ key.mT * query.shape[-1] ** -0.5
    return (scores if real is None else scores.masked_fill(~real[:, None, None], -torch.inf)).softmax(-1) @ value


def loop(rounds: int, size: int, given: tuple[Tensor, ...], real: Tensor) -> Tensor:
    """The definition, text by text: tokens in the order of where they lie along a direction, cut into clusters as few
    and as alike as may be; softmax over the keys that a query met in any of the rounds. NaN at padding."""
    query, key, value = given
    drawn = torch.randn(rounds, query.shape[-1] + 2, generator=torch.Generator().manual_seed(0))
    answer = torch.full(query.shape, torch.nan, dtype=torch.float64)
    for text, head in itertools.product(range(len(query)), range(query.shape[1])):
        kept = real[text].nonzero()[:, 0]
        if not len(kept):
            continue
        group = head // (query.shape[1] // key.shape[1])
        q, k, v = query[text, head, kept], key[text, group, kept], value[text, group, kept].double()
        longest = q.square().sum(1).max() + k.square().sum(1).max()
        zero = torch.zeros(len(kept), 1)
        q_long = torch.cat([q, zero, (longest - q.square().sum(1, keepdim=True)).sqrt()], 1)
        k_long = torch.cat([k, (longest - k.square().sum(1, keepdim=True)).sqrt(), zero], 1)
        members = -(-len(kept) // -(-len(kept) // size))
        met = torch.zeros(len(kept), len(kept), dtype=torch.bool)
        for direction in drawn:
            numbers = []
            for longer in (q_long, k_long):
                number = torch.empty(len(kept), dtype=torch.int64)
                number[(longer @ direction).argsort()] = torch.arange(len(kept)) // members
                numbers.append(number)
            met |= numbers[0][:, None] == numbers[1]
        scores = (q.double() @ k.double().T * q.shape[-1] ** -0.5).masked_fill(~met, -torch.inf)
        answer[text, head, kept] = scores.softmax(1) @ v
    return answer


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt() / other.square().mean().sqrt())


def test_the_more_rounds_the_nearer_to_softmax_until_it_is() -> None:
    given = tensors(64)
    errors = [error(found(rounds, 16, given).double(), softmax(given)) for rounds in (1, 2, 4, 8, 16, 32, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.8 and errors[4] < 0.1 and errors[-1] < 1e-6


def test_a_text_of_no_more_tokens_than_a_cluster_is_answered_exactly() -> None:
    """By itself, and beside a longer one, from which it is padded."""
    for tokens, size in itertools.product((1, 5, 16), (16, 17, 100)):
        given = tensors(tokens, kept=2)
        assert error(found(3, size, given).double(), softmax(given)) < 1e-6
    real = torch.arange(50) < torch.tensor([[50], [16]])
    given = tensors(50, kept=2)
    assert torch.allclose(found(3, 16, given, real)[1, :, :16].double(), softmax(given, real)[1, :, :16], atol=1e-6)


@pytest.mark.parametrize(("rounds", "size"), [(1, 1), (1, 8), (3, 8), (4, 5), (2, 16)])
def test_it_answers_as_a_plain_loop_wherever_padding_is(rounds: int, size: int) -> None:
    right = torch.arange(33) < torch.tensor([[33], [32], [17], [9], [8], [1], [0]])
    for real in (right, right.flip(1), right[:, torch.randperm(33, generator=torch.Generator().manual_seed(2))]):
        given = tensors(33, batch=7, kept=2)
        answer, wanted = found(rounds, size, given, real), loop(rounds, size, given, real)
        assert bool(answer.isfinite().all())
        assert float((answer - wanted).transpose(1, 2)[real].abs().max()) < 1e-5
    whole = tensors(33)
    assert torch.allclose(
        found(rounds, size, whole).double(), loop(rounds, size, whole, right[:1].expand(2, -1)), atol=1e-5
    )


def test_neither_what_padding_holds_nor_how_much_there_is_has_a_say() -> None:
    given = tensors(30)
    real = torch.arange(30) < torch.tensor([[23], [17]])
    other = tuple(part.masked_fill(~real[:, None, :, None], 50.0) for part in given)
    answer = found(3, 8, given, real).transpose(1, 2)[real]
    assert torch.equal(answer, found(3, 8, other, real).transpose(1, 2)[real])
    less = found(3, 8, tuple(part[:, :, :23] for part in given), real[:, :23]).transpose(1, 2)
    assert torch.allclose(answer, less[real[:, :23]], atol=1e-6)


def test_large_products_are_found_more_often_than_by_chance() -> None:
    """What clusters are for: a query and its best key meet more often than a query and any key."""
    query, key, _ = tensors(256, batch=4, width=16)
    met = torch.zeros(4, 4, 256, 256)
    for seed in range(20):
        of_query, of_key = (rank // 16 for rank in ranks(query, key, None, 1, seed))
        met += (of_query[:, :, 0, :, None] == of_key[:, :, 0, None]).float() / 20
    best = (query @ key.mT).argmax(-1, keepdim=True)
    assert float(met.mean()) == pytest.approx(1 / 16, rel=1e-3)  # clusters of equal size
    assert float(met.gather(-1, best).mean()) > 1.8 / 16


def test_clusters_are_those_of_the_seed() -> None:
    given = tensors(40)
    assert torch.equal(found(2, 8, given, seed=5), found(2, 8, given, seed=5))
    assert not torch.allclose(found(2, 8, given, seed=5), found(2, 8, given, seed=6), atol=1e-3)


def test_gradients_are_those_of_softmax_over_the_keys_that_were_met_and_finite_at_padding() -> None:
    given = [part.double().requires_grad_() for part in tensors(24, spread=0.5)]
    ours = torch.autograd.grad(found(200, 8, tuple(given)).square().sum(), given)  # type: ignore[arg-type]
    theirs = torch.autograd.grad(softmax(tuple(given)).square().sum(), given)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    real = torch.arange(24) < torch.tensor([[24], [0]])
    finite = torch.autograd.grad(found(2, 8, tuple(given), real)[0].sum(), given)
    assert all(bool(part.isfinite().all()) for part in finite)


def test_rounding_and_autocast() -> None:
    given = tuple(part.bfloat16() for part in tensors(40))
    wanted = found(2, 8, tuple(part.float() for part in given))
    assert found(2, 8, given).dtype == torch.bfloat16 and error(found(2, 8, given).float(), wanted) < 0.01
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found(2, 8, tuple(part.float() for part in given)), wanted)


def test_what_looks_back_only_or_at_another_text_is_refused() -> None:
    query, key, value = tensors(40)
    for given, causal in (((query, key, value), True), ((query[:, :, :9], key, value), False)):
        with pytest.raises(Unsupported, match="clusters are of whole texts"):
            found(2, 8, given, causal=causal)


def test_operations_grow_with_the_length() -> None:
    def operations(tokens: int) -> int:
        with FlopCounterMode(display=False) as counter:
            found(2, 16, tensors(tokens))
        return counter.get_total_flops()

    sizes = [operations(tokens) for tokens in (256, 512, 1024)]
    assert sizes[1] == 2 * sizes[0] and sizes[2] == 2 * sizes[1]
    dense = 2 * 4 * 2 * 2 * 1024 * 1024 * 8  # two texts, four heads, two products
    assert sizes[2] == pytest.approx(2 * 16 / 1024 * dense, rel=0.2)
