"""What sparse attention leaves out is not computed, and not held."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from masked_attention import CAUSAL, inputs_of, tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from compressors import surgery
from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.sinks import AttentionSinks
from compressors.attention.sparse import SparseAttention
from compressors.attention.window import AttentionWindow
from compressors.runtimes.executed import of_torch


def operations(method: SparseAttention | None, name: str, tokens: int) -> int:
    """Of attention alone, in a pass over one text of so many tokens: what is beyond the products with weights."""
    model = tiny(name, tokens)
    if method is not None:
        model = method.restructure(model, {})
    inputs = {n: v[:1] for n, v in inputs_of(name, tokens).items()}
    with torch.inference_mode():
        every = of_torch(model, lambda: model(**inputs)).total
    weights = sum(part.weight.numel() for part in model.modules() if surgery.is_linear(part))
    return every - 2 * weights * tokens


@pytest.mark.parametrize(
    ("method", "name"),
    [(AttentionWindow(window=8), "bert-words"), (AttentionWindow(window=8), "llama"),
     (AttentionSinks(window=8), "gpt2"), (AttentionGlobal(window=8), "bert-words")],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_operations_of_attention_grow_with_the_length_and_not_with_its_square(
    method: SparseAttention, name: str
) -> None:
    dense = [operations(None, name, tokens) for tokens in (128, 256, 512)]
    assert all(3.9 < long / short < 4.1 for short, long in itertools.pairwise(dense))
    ours = [operations(method, name, tokens) for tokens in (128, 256, 512)]
    # By how much more they grow: the first tokens of a text have less before them, whatever its length.
    assert ours[2] - ours[1] == pytest.approx(2 * (ours[1] - ours[0]), rel=0.03)
    assert ours[2] < 0.1 * dense[2]
    exact = method.pattern.pairs(512, name in CAUSAL) / 512**2
    assert exact < ours[2] / dense[2] < 4 * exact  # a block computes what one of its tokens sees


class _Largest(TorchDispatchMode):
    """Bytes of the largest tensor that an operator makes."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.found = max(self.found, out.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("name", ["bert-words", "llama"])
def test_nothing_as_large_as_all_pairs_of_tokens_is_made(name: str) -> None:
    tokens = 2000
    for real in (torch.ones(1, tokens, dtype=torch.bool), torch.arange(tokens)[None] < 1700):
        sizes = []
        for method in (AttentionWindow(window=8), AttentionGlobal(window=8, globals=2), None):
            model = tiny(name, tokens)
            if method is not None:
                method.restructure(model, {})
            with _Largest() as watch, torch.no_grad():
                model.base_model(**inputs_of(name, tokens, real))
            sizes.append(watch.found)
        assert max(sizes[:2]) < tokens**2 / 2, sizes
        assert sizes[2] >= tokens**2 or real.all(), sizes  # torch's own kernel makes none for whole texts
