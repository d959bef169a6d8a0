"""Sizes by layer: every stored byte and every weight is counted, once, and for the layer that it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressors import conformance, registry
from compressors.artifact import Artifact
from compressors.runtimes.layers import OTHER, Layer, by_layer, scope, spread
from compressors.runtimes.torch import WEIGHTS, stored_bytes

METHODS = (
    "dense", "prune-magnitude-50", "quantize-weights-4bit-g64", "onnxruntime-fp32", "int8-onnxruntime",
    "openvino-fp32", "int8-openvino",
)  # fmt: skip
BLOCKS = {"bert": "bert.encoder.layer.", "vit": "vit.layers."}


def made(method: str, kind: str) -> Artifact:
    steps = registry.variants("full")[method].steps
    return conformance._made(tuple(steps), kind) if steps else conformance.subject(kind).dense


def stored(artifact: Artifact) -> int:
    """Bytes of all tensors in the payload, read without the code under test."""
    directory: Path = artifact.directory
    if artifact.manifest["runtime"] == "torch":
        data = (directory / WEIGHTS).read_bytes()
        return len(data) - 8 - int.from_bytes(data[:8], "little")
    if artifact.manifest["runtime"] == "openvino":
        return (directory / "model.bin").stat().st_size
    onnx = pytest.importorskip("onnx")
    initialisers = onnx.load(str(directory / "model.onnx")).graph.initializer
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in initialisers)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("method", METHODS)
def test_the_layers_add_up_to_what_is_stored_and_to_the_weights(method: str, kind: str) -> None:
    artifact = made(method, kind)
    found = artifact.inventory()
    assert sum(layer.bytes for layer in found.layers.values()) == stored(artifact)
    assert sum(layer.parameters for layer in found.layers.values()) == found.parameters


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("method", METHODS)
def test_blocks_have_the_same_name_and_about_the_same_weights_in_every_runtime(method: str, kind: str) -> None:
    dense, found = conformance.subject(kind).dense.inventory().layers, made(method, kind).inventory().layers
    blocks = [name for name in dense if name.startswith(BLOCKS[kind])]
    assert len(blocks) >= 2
    for block in blocks:  # exporters fold biases away that are zero, as those of a model without training are
        assert found[block].parameters == pytest.approx(dense[block].parameters, rel=0.03)
    lost = found.get(OTHER, Layer())
    assert lost.bytes < 0.05 * sum(layer.bytes for layer in found.values())


def test_a_quantized_layer_takes_less_and_stands_for_as_many_weights() -> None:
    dense = conformance.subject("bert").dense.inventory().layers
    packed = made("quantize-weights-4bit-g64", "bert").inventory().layers
    assert packed.keys() == dense.keys()
    block = "bert.encoder.layer.1"
    assert packed[block].parameters == dense[block].parameters
    assert packed[block].bytes < 0.3 * dense[block].bytes


def test_mask_and_values_are_counted_for_the_tensor_that_they_make() -> None:
    artifact = made("prune-magnitude-50", "bert")
    names = [name for name, _ in stored_bytes(artifact.directory / WEIGHTS)]
    assert len(names) > len(set(names)) and not any("::" in name for name in names)
    assert OTHER not in artifact.inventory().layers


def test_names_are_grouped_by_block_and_by_part_of_the_model() -> None:
    sizes = [
        ("bert.embeddings.word.weight", 7), ("bert.encoder.layer.0.a.weight", 1), ("bert.encoder.layer.0.a.bias", 2),
        ("bert.encoder.layer.10.b.0.weight", 4), ("classifier.out.weight", 8), ("", 16), ("bert", 32),
    ]  # fmt: skip
    found = by_layer(sizes, [("bert.encoder.layer.0.a", 5)])
    assert {name: layer.bytes for name, layer in found.items()} == {
        "bert.embeddings": 7, "bert.encoder.layer.0": 3, "bert.encoder.layer.10": 4, "classifier": 8, OTHER: 48,
    }  # fmt: skip
    assert found["bert.encoder.layer.0"].parameters == 5
    assert list(found)[-1] == OTHER


def test_a_constant_belongs_where_it_is_used_and_nowhere_if_two_blocks_use_it() -> None:
    users = {"w": ["cast"], "cast": ["matmul"], "shared": ["matmul", "other"], "loop": ["loop"]}
    known = {"matmul": "m.layers.0.q", "other": "m.layers.1.q"}
    assert spread(users, known, "w") == "m.layers.0.q"
    assert spread(users, known, "shared") == ""
    assert spread(users, known, "loop") == spread(users, known, "unknown") == ""
    assert scope(["m.layers.0.q", "m.layers.0.k", ""]) == "m.layers.0.q"


def test_a_weight_without_a_layer_is_counted_all_the_same() -> None:
    assert by_layer([("", 4)], [("", 1)]) == {OTHER: Layer(4, 1)}
    assert by_layer([], []) == {}
