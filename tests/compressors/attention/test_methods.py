"""The methods as the suite uses them: artifacts, chains, recovery, what is told and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from masked_attention import inputs_of, masked, tiny
from torch import Tensor

from compressors import conformance, registry
from compressors.artifact import open_artifact
from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.sinks import AttentionSinks
from compressors.attention.sparse import SparseAttention
from compressors.attention.strided import AttentionStrided
from compressors.attention.window import AttentionWindow
from compressors.build import build
from compressors.conformance import HARDWARE
from compressors.interface import Compressor, Unsupported
from compressors.witness import witness

METHODS = (
    AttentionWindow(window=2), AttentionGlobal(window=2, globals=2), AttentionStrided(window=2, stride=4),
    AttentionSinks(window=3, sinks=2),
)  # fmt: skip
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def answers(artifact: Any, inputs: dict[str, Tensor]) -> np.ndarray:
    return artifact.load()({name: np.ascontiguousarray(values.numpy()) for name, values in inputs.items()})


# -- artifacts, and chains -------------------------------------------------------------------------


@EACH
def test_what_is_read_from_disk_attends_as_it_says(method: SparseAttention, tmp_path: Path) -> None:
    for kind in ("bert", "vit", "llama"):
        subject = conformance.subject(kind)
        if method.supports(subject.spec, HARDWARE):
            continue
        made = open_artifact(build([method], subject.dense, subject.context(method), tmp_path / kind).directory)
        inputs = {name: values[:5] for name, values in subject.examples.inputs.items()}
        model = made.model()
        assert model.config._attn_implementation == method.pattern.name
        found = answers(made, inputs)
        model.set_attn_implementation("sdpa")
        with torch.no_grad():
            dense = model(**inputs).logits.numpy()
        assert np.allclose(dense, answers(subject.dense, inputs), atol=1e-5)  # no weight has changed
        assert np.abs(found - dense).max() > 1e-3 * dense.std()
        if kind != "vit":  # a tiny ViT has images of two axes
            wanted = masked(made.model(), method, kind == "llama", inputs).numpy()
            real = inputs["attention_mask"].bool().numpy() if kind == "llama" else slice(None)
            assert np.abs(found - wanted)[real].max() < 2e-5 * dense.std()


NEIGHBOURS: tuple[Compressor, ...] = (
    registry.build("prune-structured", {"recovery_epochs": 0.0}),
    registry.build("prune-layers", {"removed": 0.5, "recovery_epochs": 0.0}),
    registry.build("quantize-weights"),
    registry.build("weight-only"),
)


@pytest.mark.parametrize(
    ("neighbour", "kind"), [*((one, "bert") for one in NEIGHBOURS), (NEIGHBOURS[1], "llama")],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_it_stays_in_a_chain_on_either_side(neighbour: Compressor, kind: str, tmp_path: Path) -> None:
    subject, method = conformance.subject(kind), AttentionGlobal(window=2)
    inputs = {name: values[:8] for name, values in subject.examples.inputs.items()}
    alone = answers(conformance._made((neighbour,), kind), inputs)
    for place, steps in enumerate(((method, neighbour), (neighbour, method))):
        made = open_artifact(build(steps, subject.dense, subject.context(*steps), tmp_path / str(place)).directory)
        assert made.model().config._attn_implementation == method.pattern.name
        found = answers(made, inputs)
        assert np.isfinite(found).all() and np.abs(found - alone).max() > 1e-3 * alone.std()


@pytest.mark.parametrize(
    ("kind", "runtime"), [("bert", "onnxruntime-fp32"), ("llama", "openvino-fp32"), ("vit", "openvino-fp32")]
)
def test_no_export_follows_it_and_none_becomes_dense_attention_unseen(kind: str, runtime: str, tmp_path: Path) -> None:
    subject, method = conformance.subject(kind), AttentionWindow(window=2)
    steps = (method, *registry.build(runtime).steps)
    with pytest.raises(Unsupported, match="neither ONNX Runtime nor OpenVINO can follow it") as told:
        build(steps, subject.dense, subject.context(*steps), tmp_path)
    assert "\n" not in str(told.value)


def test_a_model_has_one_pattern(tmp_path: Path) -> None:
    subject, steps = conformance.subject("llama"), (METHODS[0], METHODS[3])
    with pytest.raises(Unsupported, match="its attention was replaced before"):
        build(steps, subject.dense, subject.context(*steps), tmp_path)


def test_two_models_in_one_process_keep_each_its_own() -> None:
    inputs = inputs_of("llama", 20)
    made = [AttentionWindow(window=size).restructure(tiny("llama", 20), {}) for size in (2, 6)]
    with torch.no_grad():
        both = [model(**inputs).logits for model in made]
    for size, found in zip((2, 6), both, strict=True):
        wanted = masked(tiny("llama", 20), AttentionWindow(window=size), True, inputs)
        assert torch.allclose(found.double(), wanted, atol=1e-3)
    assert not torch.allclose(both[0], both[1], atol=1e-3)


# -- recovery --------------------------------------------------------------------------------------


def test_recovery_learns_to_do_without() -> None:
    subject = conformance.subject("bert")

    def distance(epochs: float) -> float:
        method = AttentionWindow(window=1, recovery_epochs=epochs, learning_rate=1e-3)
        model: Any = method.compress(subject.dense.model(), subject.context(method)).model
        with torch.no_grad():
            found = model(**subject.examples.inputs).logits
        assert bool(found.isfinite().all())
        return float((found - subject.examples.dense_logits).norm())

    assert distance(1) < 0.7 * distance(0)


def test_recovery_of_a_language_model_keeps_its_cache_and_loads() -> None:
    method = AttentionSinks(window=3, sinks=1, recovery_epochs=0.5)
    made = conformance._made((method,), "llama")
    ids = np.random.default_rng(2).integers(1, 600, (2, 20))
    generator = made.generator()
    first = generator.prefill(ids)
    whole = np.column_stack([ids, first, generator.decode(first, 6)])
    found = made.load()({"input_ids": whole, "attention_mask": np.ones_like(whole)})
    assert np.array_equal(found[:, 19:-1].argmax(-1), whole[:, 20:])


# -- what is told ----------------------------------------------------------------------------------


@EACH
def test_what_is_left_out_of_the_longest_text_is_told(method: SparseAttention) -> None:
    subject = conformance.subject("llama")
    longest = int(subject.examples[:16].inputs["attention_mask"].sum(1).max())
    told = conformance._made((method,), "llama").recipe[-1]["told"]
    pairs = method.pattern.pairs(longest, True)
    assert (told["tokens"], told["pairs"], told["dense_pairs"]) == (longest, pairs, longest * (longest + 1) // 2)
    assert told["seen"] == f"texts of {longest} tokens: {1 - pairs / told['dense_pairs']:.0%} of the pairs are left out"


def test_a_window_that_leaves_nothing_out_is_told_and_is_no_effect() -> None:
    for kind, tokens in (("bert", 16), ("vit", 17), ("llama", 16)):
        subject = conformance.subject(kind)
        made = conformance._made((AttentionWindow(window=64),), kind)
        assert made.recipe[-1]["told"]["seen"] == f"texts of {tokens} tokens: nothing is left out"
        inputs = {name: values[:4].numpy() for name, values in subject.examples.inputs.items()}
        assert "it executes what the dense model does" in str(witness(subject.dense, made, "kernel", inputs)[1])


# -- its effect ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [AttentionWindow(window=4), AttentionSinks(window=4, sinks=2)], ids=lambda m: m.name)
def test_fewer_operations_on_long_texts_are_an_effect(method: SparseAttention) -> None:
    subject = conformance.subject("llama")
    inputs = {"input_ids": np.ones((2, 64), np.int64), "attention_mask": np.ones((2, 64), np.int64)}
    seen, fault = witness(subject.dense, conformance._made((method,), "llama"), method.effect, inputs)
    assert fault is None and any(one.startswith("operations") for one in seen)
