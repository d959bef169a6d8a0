"""What generates by sums of keys is what scores whole texts, and the sums do not grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from masked_attention import tiny
from torch import Tensor

from compressors.attention.linear import AttentionLinear
from compressors.attention.sums import SumsLayer
from compressors.interface import PressbenchError
from compressors.runtimes.executed import of_torch
from compressors.runtimes.generation import TorchGenerator, read
from compressors.runtimes.torch import TorchRuntime

METHOD = AttentionLinear(features=8)
NAMES = pytest.mark.parametrize("name", ["llama", "gpt2"])
TEXTS = np.random.default_rng(0).integers(5, 300, (3, 70))
LAYERS, KEPT, WIDTH = 2, 2, 16
"""Of the tiny Llama: layers, heads that keys and values have, and the width of one."""


def made(name: str) -> Any:
    return METHOD.restructure(tiny(name, 120), {"seed": 0})


def passes(model: Any, ids: np.ndarray) -> np.ndarray:
    """The logits of whole texts, without a cache: (texts, tokens, vocabulary)."""
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids), use_cache=False).logits.numpy()


@NAMES
@pytest.mark.parametrize("prompt", [1, 23, 66])
def test_what_it_generates_is_what_its_passes_choose_and_can_be_asked_for_again(name: str, prompt: int) -> None:
    model = made(name)
    generator = TorchGenerator(model, "cpu")
    first = generator.prefill(TEXTS[:, :prompt])
    found = np.column_stack([first, generator.decode(first, 12)])
    ids = TEXTS[:, :prompt]
    for column in range(found.shape[1]):
        assert np.array_equal(passes(model, ids)[:, -1].argmax(-1), found[:, column])
        ids = np.column_stack([ids, found[:, column]])
    assert np.array_equal(generator.decode(first, 12), found[:, 1:])  # the sums were put back
    assert not np.array_equal(generator.decode((first + 1) % 300, 12), found[:, 1:])


@NAMES
def test_every_logit_is_that_of_a_whole_pass_whatever_cache_there_is(name: str) -> None:
    """Of sums, and of all keys, as transformers' own is; token by token, and several at once."""
    import transformers

    model, ids = made(name), torch.from_numpy(TEXTS)
    wanted = torch.from_numpy(passes(model, TEXTS))
    for cache in (model.own_cache(), transformers.DynamicCache(config=model.config)):
        with torch.no_grad():
            ends = (1, 2, 3, 40, 41, 70)
            found = [model(input_ids=ids[:, a:b], past_key_values=cache, use_cache=True).logits for a, b in
                     zip((0, *ends), ends, strict=False)]  # fmt: skip
        assert float((torch.cat(found, 1) - wanted).abs().max() / wanted.std()) < 1e-4


@NAMES
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_scored_goes_through_the_sums_and_padding_is_not_in_them(name: str, side: str) -> None:
    model = made(name)
    real = torch.arange(70) < torch.tensor([[70], [50], [3]])
    real = real if side == "right" else real.flip(1)
    inputs = {"input_ids": TEXTS, "attention_mask": real.long().numpy()}
    found = TorchRuntime().attach(model, {}, device="cpu", threads=1)(inputs)
    with torch.no_grad():
        wanted = model(**{n: torch.from_numpy(v) for n, v in inputs.items()}, use_cache=False).logits
    assert np.abs(found - wanted.numpy())[real.numpy()].max() < 1e-4
    if side == "left":  # and generating goes on from there, the mask of all tokens with it
        more = torch.from_numpy(TEXTS[:, :5])
        longer = torch.cat([real, torch.ones(3, 5, dtype=torch.bool)], 1).long()
        places = (longer.cumsum(1) - 1).clamp(min=0)
        whole = {"input_ids": torch.cat([torch.from_numpy(TEXTS), more], 1), "attention_mask": longer}
        with torch.no_grad():
            cache = model.own_cache()
            model(input_ids=whole["input_ids"][:, :70], attention_mask=real.long(), position_ids=places[:, :70],
                  past_key_values=cache, use_cache=True)  # fmt: skip
            found_after = model(input_ids=more, attention_mask=longer, position_ids=places[:, 70:],
                                past_key_values=cache, use_cache=True).logits  # fmt: skip
            wanted_after = model(**whole, position_ids=places, use_cache=False).logits[:, 70:]
        assert float((found_after - wanted_after).abs().max()) < 1e-4


def test_the_cache_is_as_large_after_many_tokens_as_after_one_and_a_step_costs_the_same() -> None:
    model = made("llama")
    generator, sizes, costs = TorchGenerator(model, "cpu"), [], []
    for prompt in (1, 30, 70):
        first = generator.prefill(TEXTS[:, :prompt])
        sizes.append(generator.bytes_cached())
        costs.append(of_torch(model, lambda first=first: generator.decode(first, 1)).total)  # type: ignore[misc]
    # For each head and feature the largest logarithm, and sums of the values and of ones.
    assert sizes == [3 * LAYERS * KEPT * 8 * (1 + WIDTH + 1) * 4] * 3
    assert len(set(costs)) == 1


def test_it_can_go_back_to_the_prompt_or_to_nothing_only() -> None:
    model = made("llama")
    cache = model.own_cache()
    ids = torch.from_numpy(TEXTS)

    def add(start: int, end: int) -> Tensor:
        with torch.no_grad():
            return next(read(model, {"input_ids": ids[:, start:end]}, cache)).logits

    add(0, 9)
    cache.activate_past_recording()
    one = add(9, 14)
    with pytest.raises(ValueError, match="sums of 14 tokens do not tell what they were at 13"):
        cache.crop(-1)
    cache.crop(-5)
    assert cache.get_seq_length() == 9 and torch.equal(add(9, 14), one)
    cache.crop(-14)
    assert cache.get_seq_length() == 0 and torch.allclose(add(0, 9)[:, -1], torch.from_numpy(
        passes(model, TEXTS[:, :9])[:, -1]), atol=1e-5)  # fmt: skip


def test_a_model_that_hands_other_keys_to_its_attention_is_told_and_not_wrong() -> None:
    layer, keys = SumsLayer(), torch.zeros(1, 2, 3, 4)
    layer.update(keys, keys)
    assert SumsLayer.of(keys) is layer and SumsLayer.of(keys.clone()) is None
    with pytest.raises(PressbenchError, match="does not hand keys from its cache to its attention as they are"):
        layer.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4))
