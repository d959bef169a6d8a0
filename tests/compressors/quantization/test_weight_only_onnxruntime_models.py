"""A model of codes on ONNX Runtime answers as the packed one, and what does not fit is decoded and told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

sys.path.append(str(Path(__file__).parent))
from onnx_codes import coded, read

from compressors import conformance, surgery
from compressors.artifact import Artifact
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import Layout, PackedWeight
from compressors.quantization.packed_layers import pack_layers
from compressors.quantization.weight_only_onnxruntime import WeightOnlyOnnxRuntime
from compressors.runtimes.onnxruntime import OnnxRuntime


def inputs(kind: str) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in conformance.subject(kind).examples.inputs.items()}


def proto(made: Artifact) -> onnx.ModelProto:
    return OnnxRuntime().read(made.directory, made.manifest)


def bytes_of(made: Artifact) -> dict[str, np.ndarray]:
    """The tensors of bytes in a safetensors file, read without the library; aliases as well."""
    raw = (made.directory / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    found = {}
    for name, about in json.loads(raw[8 : 8 + size]).items():
        if about.get("dtype") == "U8":
            start, stop = (8 + size + offset for offset in about["data_offsets"])
            found[name] = np.frombuffer(raw[start:stop], np.uint8).reshape(about["shape"])
    return found


def test_a_model_of_its_own_rounding_answers_as_the_packed_one_with_one_copy_of_a_tied_head() -> None:
    steps = WeightOnlyOnnxRuntime(bits=4, group_size=32).steps
    rounded, made = (conformance._made(steps[:count], "llama") for count in (1, 2))
    graph = proto(made).graph
    products, tables = coded(graph, "MatMulNBits"), coded(graph, "GatherBlockQuantized")
    assert len(products) == 2 * 5 + 1  # two layers of seven have too few weights to round
    (table,) = tables
    head = products[-1]
    views = {node.output[0]: node.input[0] for node in coded(graph, "Reshape")}
    assert views[table.input[0]] == head.input[1] and list(table.input[2:]) == list(head.input[2:])
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    codes = {name: values for name, values in bytes_of(rounded).items() if name.endswith("weight.codes")}
    laid_down = {stored[node.input[1]].tobytes() for node in products}
    assert len(codes) == len(laid_down) and laid_down == {values.tobytes() for values in codes.values()}
    wanted, found = rounded.load(threads=1)(inputs("llama")), made.load(threads=1)(inputs("llama"))
    dense = conformance.subject("llama").dense.load(threads=1)(inputs("llama"))
    moved, loss = np.abs(found - wanted).max(), np.abs(wanted - dense).max()
    assert moved < 1e-5 * np.abs(wanted).max() and loss > 100 * moved
    # What is counted, by the reader above: weights once, padding and scales not.
    weights = [read(graph, node) for node in products]
    counted = made.inventory()
    assert counted.dtypes["uint4"] == sum(one.size for one in weights[:-1])
    assert counted.dtypes["uint8"] == weights[-1].size
    plain = [
        values for values in stored.values() if values.dtype == np.float32 and values.ndim == 1 and values.size > 1
    ]
    zeros = sum(int((one == 0).sum()) for one in weights) + sum(int((one == 0).sum()) for one in plain)
    assert counted.parameters - counted.nonzero == zeros > 0
    few = {name: values[:4] for name, values in inputs("llama").items()}
    executed = made.executed(few)
    assert executed is not None and executed.kinds["MatMulNBits"] == len(products)
    tokens = 4 * few["input_ids"].shape[1]
    assert executed.operations["int4"] == sum(2 * tokens * one.size for one in weights[:-1])
    assert executed.operations["int8"] == 2 * tokens * weights[-1].size


def test_what_does_not_fit_is_decoded_and_told_and_a_column_scale_is_honoured() -> None:
    bert = conformance.subject("bert")
    model = bert.dense.model()
    names = [*surgery.block_linears(model), "bert.embeddings.word_embeddings", "bert.pooler.dense"]
    odd = {names[1]: LinearGrid(3, 64), names[2]: LinearGrid(4, 24)}
    pack_layers(model, names, lambda name, weight: nearest(odd.get(name, LinearGrid(4, 32)), weight))
    scaled, column_scale = surgery.get(model, names[3]), torch.linspace(0.5, 2, 64)
    weight = PackedWeight(Layout(4, 32, zero_points=True, column_scale=True), scaled.packed.rows, scaled.packed.columns)
    weight.load_state_dict({**scaled.packed.state_dict(), "column_scale": column_scale})
    scaled._modules["weight"] = weight
    given = bert.examples.inputs
    with torch.inference_mode():
        wanted = model(**given).logits.numpy()
    made = WeightOnlyOnnxRuntime(bits=None).compress(model, bert.context())
    assert made.structure["left"] == {
        names[1]: "3 bits",
        names[2]: "groups of 24, no multiple of 16 columns",
    }
    found = OnnxRuntime().attach(made.model, {}, device="cpu", threads=1)(inputs("bert"))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(coded(made.model.graph, "MatMulNBits")) == len(names) - 3
    assert len(coded(made.model.graph, "GatherBlockQuantized")) == 1
