"""Plain products answer as torch's fused attention, gradients included, and replace it in bf16 training alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compressors import conformance
from compressors.interface import Hardware
from compressors.plain_attention import MOST_KEYS, PlainAttention, plain
from compressors.training import autocast, supervised, train

BF16 = Hardware("cpu", "cpu-vnni", frozenset({"bf16"}))


def given(kind: str, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], dict[str, Any]]:
    """Query, key and value of 2 texts, 4 heads, 6 queries and 6 keys, and what else is asked."""
    made = torch.Generator().manual_seed(0)
    heads = 2 if kind == "grouped" else 4
    tensors = [torch.randn(2, count, 6, 8, generator=made, dtype=torch.float64) for count in (4, heads, heads)]
    real = torch.ones(2, 1, 1, 6, dtype=torch.bool)
    real[1, ..., 4:] = False
    more: dict[str, dict[str, Any]] = {
        "plain": {},
        "scale": {"scale": 0.7},
        "causal": {"is_causal": True},
        "grouped": {"enable_gqa": True},
        "bool": {"attn_mask": real},
        "added": {"attn_mask": torch.zeros(2, 1, 6, 6, dtype=dtype).masked_fill(~real, -torch.inf)},
        "lowest": {"attn_mask": torch.zeros(2, 1, 6, 6, dtype=dtype).masked_fill(~real, torch.finfo(dtype).min)},
        "bias": {"attn_mask": torch.randn(2, 4, 6, 6, generator=made, dtype=torch.float64).to(dtype)},
    }
    return [each.to(dtype).requires_grad_() for each in tensors], more[kind]


KINDS = ("plain", "scale", "causal", "grouped", "bool", "added", "lowest", "bias")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_gradients_are_those_of_torch(kind: str) -> None:
    found = []
    for attention in (F.scaled_dot_product_attention, plain):
        tensors, more = given(kind)
        answer = attention(*tensors, **more)
        answer.square().sum().backward()
        found.append([answer.detach(), *(each.grad for each in tensors)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_query_that_may_attend_to_nothing_has_a_finite_answer_and_gradient() -> None:
    tensors, _ = given("plain", torch.bfloat16)
    for mask in (torch.zeros(6, 6, dtype=torch.bool), torch.full((6, 6), -torch.inf)):
        answer = plain(*tensors, attn_mask=mask)
        answer.sum().backward()
        assert answer.isfinite().all()
        assert all(each.grad is not None and each.grad.isfinite().all() for each in tensors)


def fused(*, hardware: Hardware = BF16, keys: int = 6, grad: bool = True, dropout: float = 0.0) -> bool:
    """Whether torch's kernel is what answers within it."""
    query = torch.randn(1, 2, 3, 8, requires_grad=grad)
    key = torch.randn(1, 2, keys, 8)
    with autocast(hardware), PlainAttention():
        answer = F.scaled_dot_product_attention(query, key, key, dropout_p=dropout)
    return not grad or "ScaledDotProduct" in type(answer.grad_fn).__name__


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ({}, False),
        ({"keys": MOST_KEYS}, False),
        ({"keys": MOST_KEYS + 1}, True),
        ({"hardware": Hardware("cpu", "cpu-avx2")}, True),
    ],
)
def test_it_stands_in_where_it_is_faster(setting: dict[str, Any], wanted: bool) -> None:
    assert fused(**setting) is wanted


@pytest.mark.parametrize("setting", [{"grad": False}, {"dropout": 0.5}])
def test_a_teacher_and_dropout_keep_the_kernel(setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressors.plain_attention.plain", lambda *_, **__: pytest.fail("plain products"))
    fused(**setting)


@pytest.mark.parametrize("name", ["bert", "vit", "llama"])
def test_models_are_trained_with_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, asked = conformance.subject(name), []
    monkeypatch.setattr(
        "compressors.plain_attention.plain", lambda *tensors, **more: (asked.append(1), plain(*tensors, **more))[1]
    )
    train(subject.dense.model(), subject.examples, supervised, BF16, epochs=0.2, learning_rate=1e-3, batch_size=4)
    assert asked
