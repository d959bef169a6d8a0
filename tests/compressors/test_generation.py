"""Prefill and decode with a cache against transformers' own generation, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressors import artifact, conformance
from compressors.interface import Compressor, Unsupported
from compressors.pruning.layers import PruneLayers, block_influence
from compressors.quantization.int8_openvino import Int8Openvino
from compressors.quantization.weight_only_openvino import WeightOnlyOpenvino
from compressors.runtimes import cached_graph
from compressors.runtimes.controls import OpenvinoBf16, OpenvinoFp32
from compressors.runtimes.export import to_openvino
from compressors.runtimes.generation import TorchGenerator, read_bytes
from compressors.surgery import get, layer_list

METHODS = (
    OpenvinoFp32(),
    OpenvinoBf16(),
    Int8Openvino(float_precision="fp32"),
    WeightOnlyOpenvino(bits=4, activations=16, float_precision="fp32"),
)


def test_greedy_tokens_are_those_of_transformers_and_can_be_asked_for_again() -> None:
    dense = conformance.subject("llama").dense
    prompts = np.random.default_rng(0).integers(1, 600, (3, 10))
    generator = dense.generator()
    first = generator.prefill(prompts)
    found = generator.decode(first, 12)
    model = dense.model()
    with torch.inference_mode():
        wanted = model.generate(
            torch.from_numpy(prompts), attention_mask=torch.ones(3, 10, dtype=torch.int64), max_new_tokens=13,
            do_sample=False, use_cache=False, pad_token_id=0, eos_token_id=None,
        )[:, 10:].numpy()  # fmt: skip
    assert np.array_equal(np.column_stack([first, found]), wanted)
    assert np.array_equal(generator.decode(first, 12), found)  # the cache was put back
    assert not np.array_equal(generator.decode((first + 1) % 600, 12), found)  # and what is asked for matters


def test_a_model_without_words_to_write_says_so() -> None:
    with pytest.raises(Unsupported, match="BertForSequenceClassification generates no text"):
        conformance.subject("bert").dense.generator()


def test_a_model_with_fewer_layers_generates_as_it_would_without_a_cache() -> None:
    """The cache is indexed by layer: numbers left from before would be out of its range, or leave holes."""
    tiny = conformance.subject("llama")
    method = PruneLayers(removed=0.5, recovery_epochs=0)
    model = method.compress(tiny.dense.model(), tiny.context(method)).model
    generator, prompts = TorchGenerator(model, "cpu"), np.random.default_rng(1).integers(1, 600, (2, 7))
    first = generator.prefill(prompts)
    found = np.column_stack([first, generator.decode(first, 5)])
    ids = torch.from_numpy(prompts)
    with torch.inference_mode():
        for column in range(found.shape[1]):
            following = model(input_ids=ids).logits[:, -1].argmax(-1)
            assert following.tolist() == found[:, column].tolist()
            ids = torch.cat([ids, following[:, None]], 1)


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_a_layer_that_does_nothing_is_the_first_to_go(kind: str) -> None:
    tiny = conformance.subject(kind)
    method = PruneLayers(removed=0.25, recovery_epochs=0)
    model = tiny.dense.model()
    idle = get(model, layer_list(model))[1]
    idle.forward = lambda *args, **given: args[0] if args else given["hidden_states"]
    influence = block_influence(model, tiny.context(method))
    assert influence.argmin() == 1 and influence[1] == pytest.approx(0, abs=1e-5)
    assert float(influence.sum()) > 0.01


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_openvino_generates_with_the_graph_that_scores(method: Compressor) -> None:
    """The tokens of one pass at a time, with a cache, are those of whole passes without one."""
    made = conformance._made(method.steps, "llama")
    prompts = np.random.default_rng(0).integers(1, 600, (3, 10))
    generator, forward = made.generator(), made.load()
    first = generator.prefill(prompts)
    found = np.column_stack([first, generator.decode(first, 12)])
    assert np.array_equal(generator.decode(first, 12), found[:, 1:])  # the cache was put back
    fewer = generator.prefill(prompts[:2])  # and is emptied, whatever was in it
    assert np.array_equal(generator.decode(fewer, 12), found[:2, 1:])

    if isinstance(method, OpenvinoBf16):
        return  # it rounds sums of other lengths differently, so that a near tie may go either way
    ids = np.column_stack([prompts, found])
    logits = forward({"input_ids": ids, "attention_mask": np.ones_like(ids)})[:, 9:-1]
    assert np.array_equal(logits.argmax(-1), found)
    if method == OpenvinoFp32():
        dense = conformance.subject("llama").dense.generator()
        assert np.array_equal(found, np.column_stack([dense.prefill(prompts), dense.decode(first, 12)]))


def test_a_graph_without_a_cache_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no such\noperator")

    tiny = conformance.subject("llama")
    monkeypatch.setattr(cached_graph, "_program", broken)
    graph = to_openvino(tiny.dense.model(), tiny.spec)
    made = artifact.save(graph, tmp_path / "made", tiny.spec, runtime_name="openvino")
    inputs = {name: values.numpy() for name, values in tiny.examples.inputs.items()}
    assert made.load()(inputs).shape == (48, 16, 600)
    with pytest.raises(Unsupported, match="no prefill and no decode: RuntimeError: no such operator"):
        made.generator()
    bert = conformance._made((OpenvinoFp32(),), "bert")
    with pytest.raises(Unsupported, match=r"no prefill and no decode$"):
        bert.generator()


def test_bytes_read_are_the_weights_once_and_what_is_cached() -> None:
    """Tied embeddings are read by the output layer; rows that are looked up are not counted."""
    tiny = conformance.subject("llama")
    model, width, layers = tiny.dense.model(), 4, tiny.spec.config["num_hidden_layers"]
    cached = 3 * 10 * 2 * layers * 2 * 16  # rows, tokens, keys and values, layers, heads, width
    weights = sum(values.numel() for values in model.parameters())
    rotary = 2 * 8  # buffers
    generators = {"torch": tiny.dense.generator(), "fp32": conformance._made((OpenvinoFp32(),), "llama").generator()}
    for generator in generators.values():
        first = generator.prefill(np.ones((3, 10), np.int64))
        before = generator.bytes_read()
        generator.decode(first, 4)
        assert generator.bytes_read() == before == pytest.approx((weights + rotary + cached) * width, rel=0.005)
    half = conformance._made((*OpenvinoBf16().steps,), "llama").generator()
    half.prefill(np.ones((3, 10), np.int64))
    assert half.bytes_read() == pytest.approx((weights + cached) * 2, rel=0.005)

    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert read_bytes(model) == read_bytes(tiny.dense.model())  # one of the two is looked up only
