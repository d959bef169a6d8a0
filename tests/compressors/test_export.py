"""One exported graph answers like torch for every batch size and length, padded or not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from compressors import conformance
from compressors.artifact import Artifact
from compressors.interface import Compressor
from compressors.runtimes.controls import OnnxRuntimeFp32, OpenvinoFp32
from compressors.runtimes.program import example_inputs
from compressors.tiny_specs import TINY_SPECS

KINDS = ("bert", "vit")
EXPORTS: Mapping[str, Compressor] = {"onnxruntime": OnnxRuntimeFp32(), "openvino": OpenvinoFp32()}
TOLERANCE = 2e-5
"""Of the largest logit: fp32 sums in another order differ by some 1e-6, a lost mask or bf16 by 1e-3 and more."""

kinds = pytest.mark.parametrize("kind", KINDS)
runtimes = pytest.mark.parametrize("runtime", EXPORTS)


@pytest.fixture(scope="module")
def exported() -> Mapping[tuple[str, str], Artifact]:
    """(kind, runtime) -> the tiny model, exported, saved and opened again: the controls, which the
    conformance checks of other methods begin with, too, so that a whole run of the tests exports once."""
    return {(kind, name): conformance._made((step,), kind) for kind in KINDS for name, step in EXPORTS.items()}


def inputs_of(kind: str, batch: int, sequence: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Made-up inputs; in all texts but the first, padding begins somewhere."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "vit":
        return {"pixel_values": torch.randn(batch, 1, 8, 8, generator=generator)}
    ids = torch.randint(1, 600, (batch, sequence), generator=generator)
    lengths = torch.randint(1, sequence + 1, (batch, 1), generator=generator)
    lengths[0] = sequence
    return {"input_ids": ids, "attention_mask": (torch.arange(sequence)[None] < lengths).long()}


def expected(kind: str, inputs: dict[str, Tensor]) -> np.ndarray:
    with torch.inference_mode():
        return conformance.subject(kind).dense.model()(**inputs).logits.numpy()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.float32
    return float(np.abs(one - other).max() / np.abs(other).max())


@kinds
@runtimes
def test_it_agrees_with_torch_at_every_size(
    exported: Mapping[tuple[str, str], Artifact], kind: str, runtime: str
) -> None:
    forward = exported[kind, runtime].load(threads=1)
    for batch, sequence in [(1, 2), (1, 16), (2, 16), (5, 9), (8, 32), (1, 2), (33, 4)]:  # shapes come back, too
        inputs = inputs_of(kind, batch, sequence, seed=batch)
        found = forward({name: values.numpy() for name, values in inputs.items()})
        assert distance(found, expected(kind, inputs)) < TOLERANCE, (batch, sequence)


def test_a_graph_with_a_cache_scores_whole_texts_like_torch() -> None:
    forward = conformance._made((EXPORTS["openvino"],), "llama").load(threads=1)
    for batch, sequence in [(1, 2), (1, 16), (2, 16), (5, 9), (8, 32), (1, 1), (33, 4)]:
        inputs = inputs_of("llama", batch, sequence, seed=batch)
        found = forward({name: values.numpy() for name, values in inputs.items()})
        assert distance(found, expected("llama", inputs)) < TOLERANCE, (batch, sequence)


@runtimes
def test_what_lies_under_the_padding_changes_nothing(
    exported: Mapping[tuple[str, str], Artifact], runtime: str
) -> None:
    forward = exported["bert", runtime].load(threads=1)
    inputs = {name: values.numpy() for name, values in inputs_of("bert", 6, 12).items()}
    noise = np.random.default_rng(0).integers(1, 600, inputs["input_ids"].shape)
    other = {**inputs, "input_ids": np.where(inputs["attention_mask"] == 1, inputs["input_ids"], noise)}
    assert not np.array_equal(inputs["input_ids"], other["input_ids"])
    assert distance(forward(other), forward(inputs)) < TOLERANCE
    unmasked = {**inputs, "attention_mask": np.ones_like(inputs["attention_mask"])}
    assert distance(forward(unmasked), forward(inputs)) > 100 * TOLERANCE, "the mask is not listened to"


@runtimes
def test_the_order_in_which_inputs_are_given_does_not_matter(
    exported: Mapping[tuple[str, str], Artifact], runtime: str
) -> None:
    forward = exported["bert", runtime].load(threads=1)
    inputs = {name: values.numpy() for name, values in inputs_of("bert", 3, 8).items()}
    np.testing.assert_array_equal(forward(dict(reversed(inputs.items()))), forward(inputs))


@runtimes
def test_an_answer_is_not_overwritten_by_the_next_call(
    exported: Mapping[tuple[str, str], Artifact], runtime: str
) -> None:
    forward = exported["vit", runtime].load(threads=1)
    first = forward({"pixel_values": inputs_of("vit", 2, 0, seed=1)["pixel_values"].numpy()})
    kept = first.copy()
    forward({"pixel_values": inputs_of("vit", 2, 0, seed=2)["pixel_values"].numpy()})
    np.testing.assert_array_equal(first, kept)


@kinds
@runtimes
def test_the_weights_are_all_there_in_fp32(
    exported: Mapping[tuple[str, str], Artifact], kind: str, runtime: str
) -> None:
    dense = conformance.subject(kind).dense.inventory()
    found = exported[kind, runtime].inventory()
    # Exporters fold a position table or a token type away, and add constants.
    assert found.parameters == pytest.approx(dense.parameters, rel=0.05)
    assert sum(n for dtype, n in found.dtypes.items() if dtype in ("float32", "f32")) == found.parameters


@kinds
def test_example_inputs_fit_the_spec(kind: str) -> None:
    spec = TINY_SPECS[kind]
    found = example_inputs(spec, batch=3, sequence=5)
    assert list(found) == list(spec.inputs)
    for name, wanted in spec.inputs.items():
        assert str(found[name].dtype) == f"torch.{wanted.dtype}"
        assert tuple(found[name].shape) == tuple({"batch": 3, "sequence": 5}.get(a, a) for a in wanted.axes)  # type: ignore[call-overload]
    expected(kind, found)
