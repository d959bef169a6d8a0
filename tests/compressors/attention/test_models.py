"""Whole models with sparse attention against the same in float64 with dense attention under a mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from masked_attention import CAUSAL, inputs_of, masked, tiny
from torch import Tensor, nn

from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.sinks import AttentionSinks
from compressors.attention.sparse import SparseAttention
from compressors.attention.strided import AttentionStrided
from compressors.attention.window import AttentionWindow

WINDOW, GLOBAL = AttentionWindow(window=3), AttentionGlobal(window=2, globals=2)
STRIDED, SINKS = AttentionStrided(window=3, stride=5), AttentionSinks(window=3, sinks=2)
FITS = [(m, n) for n in ("bert-words", "vit", "gpt2", "llama") for m in (WINDOW, GLOBAL, STRIDED, SINKS)]
FITS = [(method, name) for method, name in FITS if method is not SINKS or name in CAUSAL]
METHODS = pytest.mark.parametrize(("method", "name"), FITS, ids=lambda value: getattr(value, "name", value))
OF_TEXT = [(method, name) for method, name in FITS if name != "vit"]
TEXTS = pytest.mark.parametrize(("method", "name"), OF_TEXT, ids=lambda value: getattr(value, "name", value))


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def asked(found: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """The answers at tokens that are no padding, where there is one for each; else all."""
    real = inputs.get("attention_mask")
    return found[real.bool()] if real is not None and found.dim() == 3 else found


def error(method: SparseAttention, name: str, inputs: dict[str, Tensor], tokens: int) -> float:
    """The largest difference in units of how far answers lie apart."""
    model = tiny(name, tokens)
    found = asked(answers(method.restructure(model, {}), inputs), inputs)
    wanted = asked(masked(model, method, name in CAUSAL, inputs), inputs)
    return float((found - wanted).abs().max() / wanted.std())


# -- truth -----------------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("tokens", [2, 6, 7, 13, 50])  # blocks have 6 queries, or 4
def test_it_answers_as_dense_attention_under_the_mask(method: SparseAttention, name: str, tokens: int) -> None:
    assert error(method, name, inputs_of(name, tokens), tokens) < 2e-5


@TEXTS
def test_padding_on_either_side_has_no_say(method: SparseAttention, name: str) -> None:
    index, lengths = torch.arange(19), torch.tensor([[19], [11], [4], [1]])
    for real in (index < lengths, index >= 19 - lengths):
        inputs = inputs_of(name, 19, real)
        assert error(method, name, inputs, 19) < 2e-5
        model = method.restructure(tiny(name, 19), {})
        other = {**inputs, "input_ids": inputs["input_ids"].masked_fill(~real, 7)}
        found, changed = (answers(model, given) for given in (inputs, other))
        assert torch.equal(asked(found, inputs), asked(changed, inputs))


@TEXTS
def test_a_text_in_a_batch_is_read_as_it_is_alone(method: SparseAttention, name: str) -> None:
    """Wherever its padding is: a place is counted from the first token. Positions are told to who embeds them."""
    real = torch.stack([torch.arange(23) >= 9, torch.arange(23) < 14])
    inputs = inputs_of(name, 23, real)
    inputs["input_ids"][1, :14] = inputs["input_ids"][0, 9:]
    inputs["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)
    model = method.restructure(tiny(name, 23), {})
    found = answers(model, inputs)
    alone = answers(model, {n: v[1:, :14] for n, v in inputs.items()})[0]
    assert torch.allclose(found[1, :14], alone, atol=1e-4) and torch.allclose(found[0, 9:], alone, atol=1e-4)


@METHODS
def test_a_window_as_long_as_the_text_changes_nothing(method: SparseAttention, name: str) -> None:
    inputs = inputs_of(name, 30)
    wide: Any = type(method)(window=30)
    found, dense = answers(wide.restructure(tiny(name, 30), {}), inputs), answers(tiny(name, 30), inputs)
    assert torch.allclose(found, dense, atol=1e-5)


@pytest.mark.parametrize("name", ["bert-odd", "qwen3", "neox", "opt", "phi3", "roberta", "albert", "electra"])
def test_other_architectures_and_odd_widths_of_heads(name: str) -> None:
    method, causal, inputs = AttentionGlobal(window=2), name in ("qwen3", "neox", "opt", "phi3"), inputs_of(name, 20)
    found = answers(method.restructure(tiny(name, 20), {}), inputs)
    wanted = masked(tiny(name, 20), method, causal, inputs)
    assert float((found - wanted).abs().max() / wanted.std()) < 2e-5
