"""What a cache of few bits answers against attention in float64 over what its codes mean, read anew here."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_architectures import make, spec_of
from torch import Tensor, nn

from compressors import conformance, registry
from compressors.artifact import Artifact, open_artifact
from compressors.build import build
from compressors.conformance import ConformanceError
from compressors.interface import Compressor, PressbenchError
from compressors.quantization.cache import GroupedLayer, QuantizeCache
from compressors.quantization.weight_only import WeightOnly
from compressors.quantization.weights import QuantizeWeights
from compressors.runtimes import torch as runtimes_torch
from compressors.witness import witness

TINY = conformance.subject("llama")
CONFIG = TINY.spec.config
LAYERS, HEADS, KEPT, WIDTH = 2, 4, 2, 16
"""Of the tiny Llama: layers, heads, heads that keys and values have, and the width of one."""
METHOD = QuantizeCache(bits=4, group_size=8, residual=5)
TEXTS = np.random.default_rng(0).integers(1, 600, (3, 40))


def made(*steps: Compressor) -> Artifact:
    return conformance._made(steps, "llama")


def passes(artifact: Artifact, ids: np.ndarray) -> np.ndarray:
    """The logits of whole texts: (texts, tokens, vocabulary)."""
    return artifact.load()({"input_ids": ids, "attention_mask": np.ones_like(ids)})


def on_grids(tokens: int, method: QuantizeCache = METHOD) -> int:
    """How many of the tokens before are codes: whole groups, `residual` tokens or more back."""
    count = 0
    while tokens - (count + method.group_size) >= method.residual:
        count += method.group_size
    return count


def read_codes(packed: Tensor, bits: int) -> np.ndarray:
    """(…, bytes) -> (…, codes): the first code is in the lowest bits of a byte."""
    flat = np.unpackbits(packed.numpy(), axis=-1, bitorder="little")
    whole = flat.reshape(*packed.shape[:-1], -1, bits).astype(np.int64)
    return (whole << np.arange(bits)).sum(-1)


def numbers(codes: Any, *, keys: bool) -> np.ndarray:
    """What is stored means, float64: (texts, heads, tokens, width), number by number."""
    read = read_codes(codes.codes, codes.bits).astype(np.float64)
    low, step = (part.double().numpy()[:, :, :, 0, :, 0] for part in (codes.low, codes.step))
    tokens, channels = np.indices(read.shape[2:])
    size = METHOD.group_size
    cell = (tokens // size, channels) if keys else (tokens, channels // size)
    return low[:, :, cell[0], cell[1]] + read * step[:, :, cell[0], cell[1]]


def float64_logits(
    model: nn.Module, ids: np.ndarray, old_keys: list[np.ndarray], old_values: list[np.ndarray]
) -> np.ndarray:
    """A Llama token by token, each of which sees old tokens as `old_keys` and `old_values` of its layer say."""
    weights = {name: values.detach().double().numpy() for name, values in model.state_dict().items()}

    def norm(values: np.ndarray, name: str) -> np.ndarray:
        return values / np.sqrt(np.mean(values**2, -1, keepdims=True) + 1e-6) * weights[name]

    def turned(heads: np.ndarray, place: int) -> np.ndarray:
        angle = place / 10000.0 ** (np.arange(WIDTH // 2) / (WIDTH // 2))
        one, other = heads[..., : WIDTH // 2], heads[..., WIDTH // 2 :]
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([one * cos - other * sin, other * cos + one * sin], -1)

    found = np.empty((*ids.shape, 600))
    kept: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in range(LAYERS)]
    for place in range(ids.shape[1]):
        state, old = weights["model.embed_tokens.weight"][ids[:, place]], on_grids(place)
        for layer, (keys, values) in enumerate(kept):
            at = f"model.layers.{layer}."
            normed = norm(state, at + "input_layernorm.weight")
            query, key, value = (
                (normed @ weights[f"{at}self_attn.{name}_proj.weight"].T).reshape(len(ids), -1, WIDTH) for name in "qkv"
            )
            query, key = turned(query, place), turned(key, place)
            keys.append(key)
            values.append(value)
            mixed = np.empty_like(query)
            for text, head in np.ndindex(len(ids), HEADS):
                of = head // (HEADS // KEPT)
                seen = [
                    np.concatenate([before[layer][text, of, :old], np.stack(own)[old:, text, of]])
                    for before, own in ((old_keys, keys), (old_values, values))
                ]
                score = seen[0] @ query[text, head] / np.sqrt(WIDTH)
                share = np.exp(score - score.max())
                mixed[text, head] = share / share.sum() @ seen[1]
            state = state + mixed.reshape(len(ids), -1) @ weights[at + "self_attn.o_proj.weight"].T
            normed = norm(state, at + "post_attention_layernorm.weight")
            gate, up = (normed @ weights[f"{at}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
            state = state + (gate / (1 + np.exp(-gate)) * up) @ weights[at + "mlp.down_proj.weight"].T
        found[:, place] = norm(state, "model.norm.weight") @ weights["lm_head.weight"].T
    return found


# -- truth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_every_position_sees_old_tokens_as_their_codes_say_and_recent_ones_as_they_are(bits: int) -> None:
    method = QuantizeCache(bits, METHOD.group_size, METHOD.residual)
    artifact = made(method)
    generator: Any = artifact.generator()
    generator.prefill(TEXTS)
    layers = generator._cache.layers
    assert [layer.old_keys.codes.shape for layer in layers] == [(3, KEPT, 32, WIDTH * bits // 8)] * LAYERS
    keys = [numbers(layer.old_keys, keys=True) for layer in layers]
    values = [numbers(layer.old_values, keys=False) for layer in layers]
    found, wanted = passes(artifact, TEXTS), float64_logits(TINY.dense.model(), TEXTS, keys, values)
    scale = wanted.std()
    assert np.abs(found - wanted).max() < 1e-5 * scale
    lost = np.abs(found - passes(TINY.dense, TEXTS)).max(axis=(0, 2)) / scale
    seen = np.array([on_grids(place) for place in range(40)])
    assert (lost[seen == 0] < 1e-5).all() and (lost[seen > 0] > 1e-4).all()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_channel_of_keys_and_a_token_of_values_cost_none_but_themselves(bits: int) -> None:
    """Each number is within half a step of its own group, however large its neighbours on the other axis are."""
    keys, values = torch.randn(2, 2, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    keys[..., 5] = 300 + 10 * keys[..., 5]  # as the keys of real models have them: far from zero at every token
    values[:, :, 7] *= 1000
    layer = GroupedLayer(bits, 8, 0)
    layer.update(keys, values)
    for found, wanted, axis in ((layer.old_keys, keys, 3), (layer.old_values, values, 5)):
        seen = numbers(found, keys=found is layer.old_keys)
        exact = wanted.double().numpy()
        cells = exact.reshape(2, 3, 3, 8, 2, 8)
        ends = cells.max(axis=axis, keepdims=True), cells.min(axis=axis, keepdims=True)
        step = (ends[0] - ends[1]) / (2**bits - 1) + 2**-8 * np.abs(ends[1]) / (2**bits - 1)
        assert (np.abs(seen.reshape(cells.shape) - cells) <= 0.502 * step + 1e-6).all()
        assert len(np.unique(read_codes(found.codes, bits))) == 2**bits


def test_tokens_that_are_all_alike_and_channels_that_are_zero_are_no_trap() -> None:
    keys = torch.tensor([0.0, 3.0, -1e-7, 1e3]).expand(1, 1, 8, 4)
    layer = GroupedLayer(4, 4, 0)
    layer.update(keys, 0 * keys)
    seen, zeros = layer.update(keys[:, :, :1], 0 * keys[:, :, :1])
    assert torch.allclose(seen, keys[:, :, :1].expand(1, 1, 9, 4), rtol=1e-3, atol=1e-6) and not zeros.any()


@pytest.mark.parametrize("bits", [8, 4])
def test_texts_no_longer_than_what_stays_are_answered_as_by_the_dense_model_exactly(bits: int) -> None:
    artifact = made(QuantizeCache(bits, 8, 40))
    assert np.array_equal(passes(artifact, TEXTS), passes(TINY.dense, TEXTS))
    generator, dense = artifact.generator(), TINY.dense.generator()
    first = generator.prefill(TEXTS[:, :20])
    assert np.array_equal(first, dense.prefill(TEXTS[:, :20]))
    assert np.array_equal(generator.decode(first, 19), dense.decode(first, 19))


@pytest.mark.parametrize("prompt", [1, 4, 13, 14, 29])
def test_what_it_generates_is_what_its_passes_choose_and_can_be_asked_for_again(prompt: int) -> None:
    artifact = made(METHOD)
    generator: Any = artifact.generator()
    first = generator.prefill(TEXTS[:, :prompt])
    held = generator.bytes_cached()
    said = generator.decode(first, 25)
    whole = np.column_stack([TEXTS[:, :prompt], first, said])
    assert np.array_equal(passes(artifact, whole)[:, prompt - 1 : -1].argmax(-1), whole[:, prompt:])
    other = generator.decode((first + 1) % 600, 30)  # fills groups with other tokens
    assert not np.array_equal(other[:, :25], said)
    assert np.array_equal(generator.decode(first, 25), said)
    assert generator.bytes_cached() == held
    again = artifact.generator()
    again.prefill(TEXTS[:, ::-1].copy())
    assert np.array_equal(again.prefill(TEXTS[:, :prompt]), first) and np.array_equal(again.decode(first, 25), said)


def test_texts_of_a_batch_have_nothing_to_do_with_each_other() -> None:
    artifact = made(METHOD)
    alone = np.concatenate([passes(artifact, text[None]) for text in TEXTS])
    assert passes(artifact, TEXTS) == pytest.approx(alone, abs=1e-4)
    padded = np.where(np.arange(40) < np.array([[40], [23], [9]]), TEXTS, 0)
    found = artifact.load()({"input_ids": padded, "attention_mask": (padded > 0).astype(np.int64)})
    for text, length in enumerate((40, 23, 9)):
        assert found[text, :length] == pytest.approx(alone[text, :length], abs=1e-4)


def test_a_layer_says_what_it_cannot_go_back_to_or_hold() -> None:
    layer = GroupedLayer(4, 4, 2)
    layer.update(torch.zeros(1, 1, 11, 4), torch.zeros(1, 1, 11, 4))
    layer.crop(-1)  # 10 tokens, 8 of them on grids as before
    with pytest.raises(ValueError, match="tokens before 8 only codes are left: it cannot go back to 9"):
        layer.crop(-1)
    with pytest.raises(PressbenchError, match=r"beyond 65,504, which fp16 holds"):
        layer.update(torch.full((1, 1, 9, 4), 1e5), torch.zeros(1, 1, 9, 4))
    with pytest.raises(PressbenchError, match="width of a head is 12, no multiple of group_size = 8"):
        GroupedLayer(4, 8, 0).update(torch.zeros(1, 1, 8, 12), torch.zeros(1, 1, 8, 12))


# -- memory ----------------------------------------------------------------------------------------


def alive() -> int:
    """Bytes of all tensors of this process that are reached from Python."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) is Tensor]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


@pytest.mark.parametrize(("bits", "share"), [(8, 0.32), (4, 0.20)])
def test_bytes_held_of_a_long_context_are_the_codes_their_grids_and_the_recent_tokens(bits: int, share: float) -> None:
    prompt = np.random.default_rng(1).integers(1, 600, (1, 2048))
    dense = TINY.dense.generator()
    dense.prefill(prompt)
    assert dense.bytes_cached() == 2048 * LAYERS * 2 * KEPT * WIDTH * 4
    weights, whole = dense.bytes_read() - dense.bytes_cached(), dense.bytes_cached()
    del dense
    generator: Any = made(QuantizeCache(bits)).generator()
    before = alive()
    generator.prefill(prompt)
    grown = alive() - before
    heads, old = LAYERS * KEPT, 2016  # the 32 that stay fill no more than whole groups
    codes = 2 * heads * old * WIDTH * bits // 8
    grids = heads * (old // 32 * WIDTH + old) * 2 * 2  # a head is narrower than a group
    recent = 2 * heads * 32 * WIDTH * 4
    assert generator.bytes_cached() == codes + grids + recent < share * whole
    assert generator.bytes_read() == weights + codes + grids + recent
    # And nothing was held beside: no numbers as they were, no view that keeps what it was cut from.
    assert 0 <= grown - (codes + grids + recent) < 1000
    held = generator.bytes_cached()
    generator.decode(np.array([5]), 40)
    assert generator.bytes_cached() == held


# -- what it takes, and what not ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "opt", "bloom", "qwen3"])
def test_however_a_model_tells_positions_its_padded_texts_are_read_as_each_alone(name: str, tmp_path: Path) -> None:
    subject = make(name, tmp_path)
    examples = subject.examples[:6]
    inputs = {key: values.numpy() for key, values in examples.inputs.items()}
    artifact = subject.artifact((QuantizeCache(8, 4, 0),))
    found, dense = (one.load()(inputs) for one in (artifact, subject.dense))
    moved = []
    for text, length in enumerate(inputs["attention_mask"].sum(1)):
        alone = passes(artifact, inputs["input_ids"][text : text + 1, :length])[0]
        assert found[text, :length] == pytest.approx(alone, abs=1e-4)
        moved.append(np.abs(found - dense)[text, :length].max() / dense.std())
    assert min(moved) > 1e-5 and max(moved) < 0.1  # 8 bits cost something, and little


@pytest.mark.parametrize(
    "weights", [QuantizeWeights(bits=8, granularity="channel"), WeightOnly(bits=8), WeightOnly(bits=4, group_size=32)]
)
def test_it_goes_behind_few_bits_a_weight_and_adds_to_what_they_cost(weights: Compressor, tmp_path: Path) -> None:
    method = QuantizeCache(4, 8, 5)
    alone = build([weights], TINY.dense, TINY.context(weights), tmp_path / "alone")
    both = build([weights, method], TINY.dense, TINY.context(weights, method), tmp_path / "both")
    both = open_artifact(both.directory)
    found, before = passes(both, TEXTS), passes(alone, TEXTS)
    apart = np.abs(found - before).max(axis=(0, 2)) / before.std()
    assert apart[13:].max() > 0.05 and apart[13:].max() > 2 * apart[:13].max(), apart  # bf16 sums in other order
    generator = both.generator()
    first = generator.prefill(TEXTS)
    said = np.column_stack([first, generator.decode(first, 12)])
    logits = passes(both, np.column_stack([TEXTS, said]))[:, 39:-1]
    gap = logits.max(-1) - np.take_along_axis(logits, said[..., None], -1)[..., 0]
    assert (gap <= 0.05 * logits.std()).all()


def test_nothing_may_follow_it() -> None:
    chain = registry.build("pipeline", {"chain": (("quantize-cache", ()), ("openvino-fp32", ()))})
    with pytest.raises(PressbenchError, match="quantize-cache must be the last of a chain: openvino-fp32"):
        _ = chain.steps


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bert", "BertForSequenceClassification generates no text"),
        ("llama-classifier", "LlamaForSequenceClassification generates no text"),
        ("vit", "ViTForImageClassification generates no text"),
        ("bert-embedder", "BertModel generates no text"),
        ("t5", "of an encoder too: only decoders are covered"),
        ("mistral", "a DynamicSlidingWindowLayer: only plain attention"),
        ("gemma3", "a DynamicSlidingWindowLayer: only plain attention"),
    ],
)
def test_what_keeps_no_such_cache_is_told_so_in_one_line(name: str, reason: str) -> None:
    told = METHOD.supports(spec_of(name), conformance.HARDWARE)
    assert told is not None and reason in told and "\n" not in told


def test_fields_that_fit_nothing_are_refused() -> None:
    assert QuantizeCache(group_size=12).supports(TINY.spec, conformance.HARDWARE) == (
        "the width of its heads is 16: no multiple of group_size = 12"
    )
    assert QuantizeCache(group_size=128).supports(TINY.spec, conformance.HARDWARE) is None
    for fields in ({"bits": 3}, {"bits": 16}, {"group_size": 0}, {"residual": -1}):
        with pytest.raises(ValueError, match=f"^{next(iter(fields))} = "):
            QuantizeCache(**fields)


# -- its effect --------------------------------------------------------------------------------------


class _Nothing(QuantizeCache):
    name: ClassVar[str] = "as-it-was"

    def restructure(self, model: nn.Module, structure: Any) -> nn.Module:
        return model


def effect(compressor: Compressor) -> tuple[list[str], str | None]:
    inputs = {name: values[:8].numpy() for name, values in TINY.examples.inputs.items()}
    return witness(TINY.dense, made(compressor), compressor.effect, inputs)


def test_a_smaller_cache_is_an_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, fault = effect(QuantizeCache(4, 4, 4))
    assert fault is None and "bytes of the cache of 64 tokens 0.414×" in seen, seen
    monkeypatch.setattr(runtimes_torch, "read", lambda model, inputs, cache: [model(**inputs)])
    assert "texts that are scored do not meet that cache" in str(effect(QuantizeCache(4, 4, 4))[1])


def test_what_would_show_no_loss_in_what_is_scored_has_no_effect() -> None:
    seen, fault = effect(QuantizeCache(4, 16, 16))  # texts of 16 tokens
    assert "bytes of the cache of 64 tokens 0.391×" in seen, seen
    assert fault == "the answers are the dense model's, to rounding: texts that are scored do not meet that cache"


def test_a_cache_as_it_was_fails_conformance() -> None:
    wrong = {check.check.__name__: check for check in conformance.checks(_Nothing())}["effect_is_witnessed"]
    with pytest.raises(ConformanceError, match=r"1\.00.× the dense one on disk, its cache of 64 tokens 1\.000× the"):
        wrong()
