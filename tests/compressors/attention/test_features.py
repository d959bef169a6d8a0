"""Attention by random features against softmax and plain loops in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressors.attention.features import PIECE, attend, directions, logarithms
from compressors.attention.linear import linear
from compressors.interface import Unsupported

CPU, LAYER = torch.device("cpu"), nn.Module()
SIDES = pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])


def tensors(
    tokens: int, spread: float = 0.5, batch: int = 2, heads: int = 4, kept: int = 4, width: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    coin = torch.Generator().manual_seed(tokens)
    query = torch.randn(batch, heads, tokens, width, generator=coin) * spread
    key = torch.randn(batch, kept, tokens, width, generator=coin) * spread
    return query, key, torch.randn(batch, kept, tokens, width, generator=coin)


def found(features: int, given: tuple[Tensor, Tensor, Tensor], seed: int = 0, **more: Any) -> Tensor:
    """(batch, heads, queries, width)."""
    return linear(features, seed, LAYER, *given, **{"real": None, "scale": None, **more}).transpose(1, 2)


def softmax(given: tuple[Tensor, Tensor, Tensor], causal: bool, real: Tensor | None = None) -> Tensor:
    """float64; heads that share their keys are written out."""
    query, key, value = (part.double() for part in given)
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    if real is not None:
        scores = scores.masked_fill(~real[:, None, None], -torch.inf)
    return scores.softmax(-1) @ value


def loop(features: int, given: tuple[Tensor, Tensor, Tensor], causal: bool, real: Tensor | None = None) -> Tensor:
    """The definition in float64: for each query the mean of values, each weighed by the product of the features."""
    query, key, value = (part.double() for part in given)
    groups, width = query.shape[1] // key.shape[1], query.shape[-1]
    drawn = directions(features, width, 0, CPU).double()

    def phi(x: Tensor) -> Tensor:
        x = x * width**-0.25
        return (x @ drawn.T - 0.5 * (x * x).sum(-1, keepdim=True)).exp()

    answer = torch.zeros(*query.shape[:3], value.shape[-1], dtype=torch.float64)
    before = key.shape[2] - query.shape[2]
    for text in range(len(query)):
        for head in range(query.shape[1]):
            q, k = phi(query[text, head]), phi(key[text, head // groups])
            for place in range(query.shape[2]):
                end = before + place + 1 if causal else key.shape[2]
                seen = [j for j in range(end) if real is None or bool(real[text, j])]
                weights = (q[place] * k[seen]).sum(-1)
                answer[text, head, place] = (weights / weights.sum()) @ value[text, head // groups, seen]
    return answer


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt() / other.square().mean().sqrt())


# -- features --------------------------------------------------------------------------------------


def test_the_product_of_features_is_exp_of_the_product_on_average() -> None:
    """Over 4,000 seeds, to four deviations of the mean. Directions that lean to one side would be seen: the query and
    the key point to the first axis, where QR by itself finds only half of all directions."""
    for one, other in ((0.9, 0.5), (-0.9, 0.5), (-0.7, -0.7)):
        q, k = torch.zeros(1, 8), torch.zeros(1, 8)
        q[0, 0], k[0, 0], k[0, 3] = one, other, 0.4
        drawn = [directions.__wrapped__(8, 8, seed, CPU).double() for seed in range(4000)]
        each = torch.stack([(logarithms(q.double(), w) + logarithms(k.double(), w)).exp().mean() for w in drawn])
        wanted = float((q @ k.T).exp())
        assert abs(float(each.mean()) - wanted) < 4 * float(each.std()) / 4000**0.5
        assert float(each.std()) / 4000**0.5 < 0.02 * wanted


def test_directions_are_orthogonal_within_each_width_and_as_long_as_normal_ones() -> None:
    drawn = directions(20, 8, 3, CPU).double()
    for block in (drawn[:8], drawn[8:16], drawn[16:]):
        product = block @ block.T
        assert torch.allclose(product, torch.diag(product.diagonal()), atol=1e-5)
    many = torch.cat([directions(64, 8, seed, CPU) for seed in range(100)]).double()
    assert float(many.square().sum(1).mean()) == pytest.approx(8, rel=0.03)  # chi squared of 8
    assert float(many.square().sum(1).var()) == pytest.approx(16, rel=0.1)
    assert torch.allclose(many.T @ many / len(many), torch.eye(8).double(), atol=0.06)


def test_directions_are_those_of_the_seed_and_can_be_trained_with_after_inference() -> None:
    with torch.inference_mode():
        drawn = directions(24, 8, 77, CPU)
    assert torch.equal(drawn, directions.__wrapped__(24, 8, 77, CPU))
    assert not torch.equal(drawn, directions(24, 8, 78, CPU))
    x = torch.ones(1, 8, requires_grad=True)
    logarithms(x, drawn).sum().backward()
    assert x.grad is not None


# -- truth -----------------------------------------------------------------------------------------


@SIDES
def test_the_more_features_the_nearer_to_softmax_by_their_root(causal: bool) -> None:
    given = tensors(48, spread=0.35)
    wanted = softmax(given, causal)
    errors = [
        sum(error(found(count, given, seed, causal=causal).double(), wanted) for seed in range(6)) / 6
        for count in (64, 256, 1024, 4096)
    ]
    for more, fewer in zip(errors[1:], errors, strict=False):
        assert 0.35 < more / fewer < 0.7  # a half, give or take chance
    assert errors[-1] < 0.03


@SIDES
@pytest.mark.parametrize("tokens", [1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5])
def test_it_answers_as_a_plain_loop_over_queries_and_keys(causal: bool, tokens: int) -> None:
    given = tensors(tokens, 1.0, kept=2, width=8)
    assert error(found(12, given, causal=causal).double(), loop(12, given, causal)) < 2e-6


@SIDES
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_has_no_say_and_texts_of_padding_alone_are_finite(causal: bool, side: str) -> None:
    tokens = PIECE + 9
    real = torch.arange(tokens) < torch.tensor([[tokens], [PIECE], [3], [0]])
    real = real if side == "right" else real.flip(1)
    given = tensors(tokens, batch=4, kept=2, width=8)
    answer = found(12, given, causal=causal, real=real)
    assert bool(answer.isfinite().all())
    assert (
        error(
            *(
                part[:3].transpose(1, 2)[real[:3]]
                for part in (
                    answer.double(),
                    loop(12, tuple(part[:3] for part in given), causal, real[:3]).nan_to_num(),
                )
            )
        )
        < 2e-6
    )  # type: ignore[arg-type]
    other = tuple(part.masked_fill(~real[:, None, :, None], 50.0) for part in given)
    changed = found(12, other, causal=causal, real=real)  # type: ignore[arg-type]
    assert torch.equal(*(part.transpose(1, 2)[real] for part in (answer, changed)))


def test_nothing_of_what_is_to_come_is_in_an_answer() -> None:
    """Not even by rounding, and not by a key so large that it would take the numbers of all others from under them."""
    given = tensors(2 * PIECE, kept=2)
    before = found(32, given, causal=True)
    for place in (1, 17, PIECE - 1, PIECE, PIECE + 40):
        for size in (1.0, 300.0):
            query, key, value = (part.clone() for part in given)
            for part in (query, key, value):
                part[:, :, place] = size
            after = found(32, (query, key, value), causal=True)
            assert torch.equal(after[:, :, :place], before[:, :, :place])
            assert bool(after.isfinite().all()) and not torch.equal(after[:, :, place], before[:, :, place])


@SIDES
def test_large_keys_are_told_apart_beside_small_ones(causal: bool) -> None:
    """Their features are beyond what fp32 can hold under the largest of the others."""
    query, key, value = tensors(9, 0.5, width=8)
    key[:, :, :4] *= 24 / key[:, :, :4].norm(dim=-1, keepdim=True)  # squared, in units of the scale: 204
    given = query, key, value
    assert error(found(12, given, causal=causal).double(), loop(12, given, causal)) < 2e-5


@SIDES
def test_one_key_alone_is_answered_whatever_its_size(causal: bool) -> None:
    """Where every feature is nearly nothing, or beyond any number, their ratio is still the value."""
    for size in (1e-3, 30.0, 300.0):
        query, key, value = tensors(1, size)
        assert torch.allclose(found(16, (query, key, value), causal=causal), value, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, PIECE, PIECE + 3])
def test_fewer_queries_than_keys_are_the_last_ones(count: int) -> None:
    query, key, value = tensors(2 * PIECE + 3, kept=2)
    whole = found(32, (query, key, value), causal=True)[:, :, -count:]
    last = found(32, (query[:, :, -count:], key, value), causal=True)
    assert torch.allclose(last, whole, atol=1e-5)


def test_sums_of_the_keys_before_stand_for_them() -> None:
    drawn = directions(24, 16, 0, CPU)
    given = [part[:, :, None] for part in tensors(90)]
    whole, last = attend(*given, drawn, causal=True)
    sums, pieces = None, []
    for start, end in ((0, 1), (1, 2), (2, 50), (50, 90)):
        piece, sums = attend(*(part[..., start:end, :] for part in given), drawn, causal=True, before=sums)
        pieces.append(piece)
    assert torch.allclose(torch.cat(pieces, -2), whole, atol=1e-5)
    assert sums is not None
    for one, other in zip(sums, last, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@SIDES
def test_gradients_are_those_of_the_plain_formula(causal: bool) -> None:
    given = [
        part[:, :, None].double().requires_grad_() for part in tensors(PIECE + 5, width=8, batch=1, heads=1, kept=1)
    ]
    drawn = directions(16, 8, 0, CPU).double()
    ours = torch.autograd.grad(attend(*given, drawn, causal=causal)[0].square().sum(), given)
    weights = logarithms(given[0], drawn).exp() @ logarithms(given[1], drawn).exp().mT
    weights = weights.tril() if causal else weights
    theirs = torch.autograd.grad((weights / weights.sum(-1, keepdim=True) @ given[2]).square().sum(), given)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_half_precision_and_autocast_answer_as_fp32_does_to_rounding() -> None:
    given = tensors(70)
    wanted = found(32, given, causal=True)
    rounded = found(32, tuple(part.bfloat16() for part in given), causal=True)  # type: ignore[arg-type]
    assert rounded.dtype == torch.bfloat16 and error(rounded.float(), wanted) < 0.01
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found(32, given, causal=True), wanted)


def test_who_looks_at_another_text_is_refused() -> None:
    query, key, value = tensors(6)
    for given, causal in (((query[:, :, :4], key, value), False), ((query, key[:, :, :4], value[:, :, :4]), True)):
        with pytest.raises(Unsupported, match="here they look at those of another"):
            found(8, given, causal=causal)


# -- work ------------------------------------------------------------------------------------------


@SIDES
def test_operations_grow_with_the_length_and_with_the_features(causal: bool) -> None:
    def operations(tokens: int, features: int) -> int:
        with FlopCounterMode(display=False) as counter:
            found(features, tensors(tokens), causal=causal)
        return counter.get_total_flops()

    sizes = [operations(tokens, 32) for tokens in (512, 1024, 2048)]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.02) and sizes[2] == pytest.approx(2 * sizes[1], rel=0.02)
    dense = 2 * 4 * 2 * 2 * 2048 * 2048 * 16  # two texts, four heads, two products
    assert sizes[2] < 0.1 * dense
    assert operations(1024, 64) < 2.1 * sizes[1]
