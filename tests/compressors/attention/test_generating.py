"""What generates with a bounded cache is what scores whole texts, and the cache is no larger than it says."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from masked_attention import masked, tiny
from tiny_architectures import make
from torch import Tensor

from compressors import conformance
from compressors.artifact import Artifact
from compressors.attention.cache import WindowLayer
from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.sinks import AttentionSinks
from compressors.attention.sparse import SparseAttention
from compressors.attention.strided import AttentionStrided
from compressors.attention.window import AttentionWindow
from compressors.build import build
from compressors.interface import Unsupported
from compressors.quantization.cache import QuantizeCache
from compressors.runtimes.executed import of_torch
from compressors.runtimes.generation import TorchGenerator, cache_of

METHODS = (
    AttentionWindow(window=5), AttentionGlobal(window=4, globals=3), AttentionStrided(window=3, stride=4),
    AttentionSinks(window=6, sinks=2), AttentionWindow(window=1),
)  # fmt: skip
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{method.window}")
HOLDING = [method for method in METHODS if not isinstance(method, AttentionStrided)]
FIRST = {AttentionWindow: 0, AttentionGlobal: 3, AttentionSinks: 2}
TEXTS = np.random.default_rng(0).integers(5, 300, (3, 40))
LAYERS, KEPT, WIDTH = 2, 2, 16
"""Of the tiny Llama: layers, heads that keys and values have, and the width of one."""


def made(method: SparseAttention, name: str, tokens: int = 120) -> Any:
    return method.restructure(tiny(name, tokens), {})


def passes(model: Any, ids: np.ndarray) -> np.ndarray:
    """The logits of whole texts, without a cache: (texts, tokens, vocabulary)."""
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids), use_cache=False).logits.numpy()


# -- truth -----------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("prompt", [1, 6, 23])
def test_what_it_generates_is_what_its_passes_choose_and_can_be_asked_for_again(
    method: SparseAttention, name: str, prompt: int
) -> None:
    model = made(method, name)
    generator = TorchGenerator(model, "cpu")
    first = generator.prefill(TEXTS[:, :prompt])
    held = generator.bytes_cached()
    said = generator.decode(first, 15)
    whole = np.column_stack([TEXTS[:, :prompt], first, said])
    assert np.array_equal(passes(model, whole)[:, prompt - 1 : -1].argmax(-1), whole[:, prompt:])
    other = generator.decode((first + 1) % 300, 18)
    assert not np.array_equal(other[:, :15], said)
    assert np.array_equal(generator.decode(first, 15), said)
    assert generator.bytes_cached() == held
    assert np.array_equal(generator.prefill(TEXTS[:, :prompt]), first)


@EACH
def test_logits_through_the_cache_are_those_under_the_mask(method: SparseAttention) -> None:
    """Read in blocks of any size: a cache that lets go of what is seen, or keeps what is not, would show."""
    model, ids = made(method, "llama"), torch.from_numpy(TEXTS)
    wanted = masked(tiny("llama", 120), method, True, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    for sizes in ([40], [1] * 40, [3, 30, 1, 1, 5]):
        cache, found = cache_of(model)(), []
        with torch.no_grad():
            for block in ids.split([*sizes[:-1], 40 - sum(sizes[:-1])], 1):
                found.append(model(input_ids=block, past_key_values=cache, use_cache=True).logits)
        assert float((torch.cat(found, 1) - wanted).abs().max() / wanted.std()) < 2e-5, sizes


def test_padding_before_a_text_is_told_to_a_cache_that_still_has_it_and_refused_by_one_that_has_not() -> None:
    real = torch.arange(20)[None] >= torch.tensor([[0], [6]])
    ids = torch.from_numpy(TEXTS[:2, :21]).clone()
    for method in (AttentionWindow(window=5), AttentionSinks(window=15, sinks=2), AttentionStrided(window=3, stride=4)):
        model = made(method, "llama")
        cache = cache_of(model)()
        mask = torch.cat([real, real.new_ones(2, 1)], 1).long()
        with torch.no_grad():
            model(input_ids=ids[:, :20], attention_mask=mask[:, :20], past_key_values=cache)
            if isinstance(method, AttentionSinks):
                with pytest.raises(Unsupported, match="padding before them cannot go on once their cache has let go"):
                    model(input_ids=ids[:, 20:], attention_mask=mask, past_key_values=cache)
                continue
            found = model(input_ids=ids[:, 20:], attention_mask=mask, past_key_values=cache).logits[1]
            alone = model(input_ids=ids[1:, 6:], use_cache=False).logits[0, -1:]
        assert torch.allclose(found, alone, atol=1e-4)


def test_padding_after_a_text_is_seen_by_none_that_follows() -> None:
    model, ids = made(AttentionSinks(window=4, sinks=2), "llama"), torch.from_numpy(TEXTS[:2])
    mask = torch.ones(2, 21, dtype=torch.int64)
    mask[1, 17:20] = 0
    with torch.no_grad():
        cache = cache_of(model)()
        model(input_ids=ids[:, :20], attention_mask=mask[:, :20], past_key_values=cache)
        found = model(input_ids=ids[:, 20:21], attention_mask=mask, past_key_values=cache).logits
        whole = model(input_ids=ids[:, :21], attention_mask=mask, use_cache=False).logits[:, -1:]
    assert torch.allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("name", ["opt", "qwen3", "neox", "phi3"])
def test_other_architectures_generate_what_they_score(name: str, tmp_path: Path) -> None:
    subject = make(name, tmp_path)
    artifact = subject.artifact((AttentionSinks(window=6, sinks=2),))
    generator: Any = artifact.generator()
    prompts = subject.examples.inputs["input_ids"][:3, :8].numpy()
    first = generator.prefill(prompts)
    whole = np.column_stack([prompts, first, generator.decode(first, 20)])
    found = artifact.load()({"input_ids": whole, "attention_mask": np.ones_like(whole)})
    assert np.array_equal(found[:, 7:-1].argmax(-1), whole[:, 8:])
    assert {type(layer) for layer in generator._cache.layers} == {WindowLayer}


def test_a_cache_of_few_bits_may_follow_and_is_then_the_cache(tmp_path: Path) -> None:
    tiny_llama, steps = conformance.subject("llama"), (AttentionWindow(window=6), QuantizeCache(8, 4, 4))
    artifact = build(steps, tiny_llama.dense, tiny_llama.context(*steps), tmp_path)
    generator: Any = artifact.generator()
    first = generator.prefill(TEXTS[:, :12])
    whole = np.column_stack([TEXTS[:, :12], first, generator.decode(first, 20)])
    found = artifact.load()({"input_ids": whole, "attention_mask": np.ones_like(whole)})
    assert np.array_equal(found[:, 11:-1].argmax(-1), whole[:, 12:])
    alone = conformance._made(steps[:1], "llama").load()({"input_ids": whole, "attention_mask": np.ones_like(whole)})
    assert 1e-5 < np.abs(found - alone).max() / alone.std() < 0.1


# -- memory and time -------------------------------------------------------------------------------


def alive() -> int:
    """Bytes of all tensors of this process that are reached from Python."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) is Tensor]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


@pytest.mark.parametrize(
    ("method", "name"),
    [*zip(HOLDING, ("llama", "llama", "gpt2", "llama"), strict=True)],
    ids=lambda v: getattr(v, "name", v),
)
def test_the_cache_holds_the_first_tokens_and_the_window_whatever_the_length(
    method: SparseAttention, name: str
) -> None:
    token = 2 * 2 * LAYERS * (KEPT if name == "llama" else 4) * WIDTH * 4  # bytes of one, in two texts
    most = (FIRST[type(method)] + method.window - 1) * token
    generator: Any = TorchGenerator(made(method, name, 400), "cpu")
    generator.prefill(TEXTS[:2, :3])
    assert generator.bytes_cached() == min(3 * token, most)
    generator.prefill(TEXTS[:2, :1])
    before = alive() - generator.bytes_cached()
    generator.prefill(np.random.default_rng(1).integers(5, 300, (2, 300)))
    assert generator.bytes_cached() == most
    assert abs(alive() - before - most) < 1000  # nothing is held beside, no view of what was cut
    generator._added = 15
    with torch.inference_mode():
        for _ in range(15):
            generator._next(torch.tensor([[7], [8]]))
    assert alive() - before <= 2 * most + 1000  # with what it goes back to
    assert all(layer.keys.shape[2] * token == most for layer in generator._cache.layers)


def test_a_token_costs_the_same_however_long_the_text_is() -> None:
    def cost(method: SparseAttention | None, tokens: int) -> int:
        model = tiny("llama", 1200) if method is None else made(method, "llama", 1200)
        generator: Any = TorchGenerator(model, "cpu")
        generator.prefill(np.full((1, tokens), 9))
        return of_torch(model, lambda: generator.decode(np.array([9]), 1)).total

    sinks = AttentionSinks(window=8, sinks=4)
    assert cost(sinks, 100) == cost(sinks, 1000)
    assert cost(None, 1000) > 1.5 * cost(None, 100)
    strided = AttentionStrided(window=8, stride=32)
    assert cost(sinks, 1000) < cost(strided, 1000) < cost(sinks, 1000) + 2 * (1000 // 32 + 2) * 2 * LAYERS * 64


# -- the layer by itself ---------------------------------------------------------------------------


def tokens(*places: int) -> Tensor:
    return torch.tensor(places, dtype=torch.float32)[None, None, :, None]


def test_a_layer_goes_back_to_where_it_was_asked_to_and_says_where_it_cannot() -> None:
    layer = WindowLayer(first=1, window=3)
    seen, _ = layer.update(tokens(0, 1, 2, 3, 4), tokens(0, 1, 2, 3, 4))
    assert seen.flatten().tolist() == [0, 1, 2, 3, 4] and layer.keys.flatten().tolist() == [0, 3, 4]
    assert layer.get_mask_sizes(2) == (5, 2) and layer.get_seq_length() == 5
    with pytest.raises(ValueError, match="of 5 tokens some are gone that were seen at 4: it cannot go back there"):
        layer.crop(-1)
    layer.crop(0)
    layer.activate_past_recording()
    for place in range(5, 9):
        seen, _ = layer.update(tokens(place), tokens(place))
        assert seen.flatten().tolist() == [0, place - 2, place - 1, place]
    with pytest.raises(ValueError, match="seen at 6"):
        layer.crop(-3)
    layer.crop(-4)
    assert layer.keys.flatten().tolist() == [0, 3, 4] == layer.values.flatten().tolist()
    layer.update(tokens(5), tokens(5))
    layer.crop(0)  # from now on this is what it goes back to
    layer.update(tokens(6), tokens(6))
    layer.crop(-1)
    assert layer.keys.flatten().tolist() == [0, 4, 5] and layer.get_seq_length() == 6


def test_a_layer_from_which_nothing_has_gone_goes_back_anywhere() -> None:
    layer = WindowLayer(first=2, window=5)
    layer.crop(-1)  # it is empty
    layer.activate_past_recording()
    layer.update(tokens(0, 1, 2, 3), tokens(0, 1, 2, 3))
    layer.crop(-2)
    assert layer.keys.flatten().tolist() == [0, 1] and layer.get_mask_sizes(1) == (3, 0)
    assert layer.get_max_length() == -1


def test_the_cache_is_for_what_generates_text_and_indexed_by_its_layers(tmp_path: Path) -> None:
    for name in ("bert", "llama-classifier"):
        artifact: Artifact = make(name, tmp_path / name).artifact((AttentionWindow(window=4),))
        assert not hasattr(artifact.model(), "own_cache")
    assert not hasattr(made(AttentionStrided(), "llama"), "own_cache")  # what all see lies all over the text
