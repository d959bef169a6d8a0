"""The codes of a rounding on the kernels of ONNX Runtime: the very codes, what they are multiplied to, what is told.

The graph is read here by the definition of its operators, in float64, with nothing of the code that wrote it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compressors import conformance, surgery
from compressors.artifact import Artifact
from compressors.interface import PressbenchError, Unsupported
from compressors.quantization import codes_onnxruntime, decoded
from compressors.quantization.codes_onnxruntime import Laying
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import (
    Layout,
    PackedEmbedding,
    PackedLinear,
    PackedWeight,
    pack_layers,
)
from compressors.quantization.weight_only_onnxruntime import WeightOnlyOnnxRuntime
from compressors.quantization.weights import QuantizeWeights
from compressors.runtimes.onnxruntime import OnnxRuntime

ROWS = 40


def packed(bits: int, group_size: int, columns: int, zeros: bool) -> tuple[PackedWeight, np.ndarray]:
    """Made-up codes, and the values that they stand for by the definition, float64: (ROWS, columns)."""
    coin = torch.Generator().manual_seed(bits + group_size)
    groups = -(-columns // group_size)
    codes = torch.randint(0, 2**bits, (ROWS, columns), generator=coin).to(torch.uint8)
    scale = torch.rand(ROWS, groups, generator=coin) + 0.1
    zero = torch.randint(0, 2**bits, (ROWS, groups), generator=coin).to(torch.uint8) if zeros else None
    if zero is not None:  # both ends of the codes
        zero[0], zero[1] = 0, 2**bits - 1
    weight = PackedWeight.from_codes(codes, scale, bits=bits, group_size=group_size, zero=zero)
    group = np.arange(columns) // group_size
    middle = np.float64(2 ** (bits - 1)) if zero is None else zero.numpy().astype(np.float64)[:, group]
    return weight, (codes.numpy() - middle) * scale.numpy().astype(np.float64)[:, group]


# -- a reader of its own ---------------------------------------------------------------------------


def codes_in(values: np.ndarray, bits: int, count: int) -> list[int]:
    """The first codes in these bytes, one after the other from the lowest bits on."""
    whole = int.from_bytes(values.tobytes(), "little")
    return [(whole >> place * bits) & (2**bits - 1) for place in range(count)]


def read(graph: onnx.GraphProto, node: onnx.NodeProto) -> np.ndarray:
    """The weights, (rows, columns) float64, that an operator multiplies with or looks up in."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    about = {a.name: a.i for a in node.attribute}
    codes, *rest = node.input[1:] if node.op_type == "MatMulNBits" else (node.input[0], *node.input[2:])
    views = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Reshape"}
    stored, scale = arrays[views.get(codes, codes)], arrays[rest[0]]
    zeros = arrays[rest[1]] if len(rest) > 1 and rest[1] else None
    rows, blocks, _ = stored.shape
    bits, block = about["bits"], about["block_size"]
    assert scale.shape == (rows, blocks) and scale.dtype == np.float32
    found = np.empty((rows, blocks * block))
    for row in range(rows):
        points = [2 ** (bits - 1)] * blocks if zeros is None else codes_in(zeros[row], bits, blocks)
        for number in range(blocks):
            here = np.array(codes_in(stored[row, number], bits, block), dtype=np.float64)
            found[row, number * block : (number + 1) * block] = (here - points[number]) * float(scale[row, number])
    return found[:, : about.get("K", blocks * block)]


def coded(graph: onnx.GraphProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == kind]


# -- operators -------------------------------------------------------------------------------------

FORMS = ("MatMul", "Transpose", "Gemm", "Gather")
"""How an exporter writes a layer: with the transposed weight, or transposing it; with a bias; a look-up."""


def graph_of(form: str, values: np.ndarray, bias: np.ndarray | None = None) -> onnx.ModelProto:
    """A layer with these weights, (rows, columns), as an exporter would write it."""
    columns = values.shape[1]
    weight = values.astype(np.float32)
    inputs = ["x", "w"]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", columns])
    nodes, more = [], []
    if form == "MatMul":
        weight = np.ascontiguousarray(weight.T)
    if form == "Transpose":
        nodes, inputs = [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0])], ["x", "t"]
    if form == "Gemm" and bias is not None:
        inputs, more = ["x", "w", "b"], [numpy_helper.from_array(bias, "b")]
    if form == "Gather":
        inputs = ["w", "x"]
        given = helper.make_tensor_value_info("x", TensorProto.INT64, ["n", "m"])
    kind = "MatMul" if form == "Transpose" else form
    about: dict[str, Any] = {"transB": 1} if form == "Gemm" else {}
    nodes.append(helper.make_node(kind, inputs, ["logits"], **about))
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [answer], [numpy_helper.from_array(weight, "w"), *more])
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def laid(form: str, weight: PackedWeight, *, level: int = 0, bias: np.ndarray | None = None) -> onnx.ModelProto:
    """The same with the codes of `weight` in it."""
    model = graph_of(form, weight.dequantize().numpy(), bias)
    matrix = decoded.key(weight.dequantize().numpy())
    table = form == "Gather"
    laying = Laying(model.graph, {matrix: "layer"}, level)
    found = laying.replace({} if table else {matrix: weight}, {matrix: weight} if table else {})
    assert found == ((set(), {matrix}) if table else ({matrix}, set()))
    return model


def answer_of(model: onnx.ModelProto, given: np.ndarray) -> np.ndarray:
    return OnnxRuntime().attach(model, {}, device="cpu", threads=1)({"x": given})


SIZES = [(64, 192), (128, 192), (192, 192), (48, 192), (16, 56), (40, 40), (512, 520)]
"""(columns of a group, columns): groups that divide a layer; narrower last ones; one for all; ones of three blocks;
layers that no block divides, with many groups and with one."""


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(("group_size", "columns"), SIZES)
@pytest.mark.parametrize("bits", [4, 8])
def test_products_and_tables_hold_the_very_values_and_answer_with_them(
    bits: int, group_size: int, columns: int, zeros: bool
) -> None:
    weight, wanted = packed(bits, group_size, columns, zeros)
    coin = np.random.default_rng(0)
    given = coin.standard_normal((3, columns)).astype(np.float32)
    bias = coin.standard_normal(ROWS).astype(np.float32) * 100
    for form in FORMS[:3]:
        model = laid(form, weight, bias=bias)
        (node,) = [node for node in model.graph.node if node.op_type != "Reshape"]
        assert node.op_type == "MatMulNBits" and node.domain == "com.microsoft"
        assert np.array_equal(read(model.graph, node), wanted)
        right = given.astype(np.float64) @ wanted.T + (bias if form == "Gemm" else 0)
        assert np.abs(answer_of(model, given) - right).max() < 2e-6 * np.abs(right).max()
        assert "w" not in {tensor.name for tensor in model.graph.initializer}
    if codes_onnxruntime.why_not(PackedEmbedding(weight)) is None:
        model = laid("Gather", weight)
        (node,) = coded(model.graph, "GatherBlockQuantized")
        assert np.array_equal(read(model.graph, node), wanted)
        ids = np.array([[0, 1, ROWS - 1], [5, 5, 2]])
        assert answer_of(model, ids) == pytest.approx(wanted[ids], rel=1e-6)
    else:
        assert columns % 16


def test_a_sum_that_int8_kernels_could_saturate_is_exact() -> None:
    """Codes at one end, zero points at the other, inputs all of one size: by level 4 they lose nothing either."""
    for bits in (4, 8):
        codes, zero = torch.full((ROWS, 256), 2**bits - 1), torch.zeros(ROWS, 4)
        weight = PackedWeight.from_codes(
            codes.to(torch.uint8), torch.ones(ROWS, 4), bits=bits, group_size=64, zero=zero.to(torch.uint8)
        )
        for level in (0, 4):
            for rows in (1, 8):
                found = answer_of(laid("MatMul", weight, level=level), np.ones((rows, 256), np.float32))
                assert found == pytest.approx(np.full((rows, ROWS), 256.0 * (2**bits - 1)), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("bits", [4, 8])
def test_level_4_moves_each_input_by_less_than_a_step_of_its_block(bits: int, rows: int) -> None:
    weight, values = packed(bits, 64, 192, True)
    given = np.random.default_rng(1).standard_normal((rows, 192)).astype(np.float32)
    exact = given.astype(np.float64) @ values.T
    moved = np.abs(answer_of(laid("MatMul", weight, level=4), given) - exact)
    half_step = np.abs(given).reshape(rows, 3, 64).max(2).repeat(64, axis=1) / 254
    bound = half_step @ np.abs(values).T
    assert (moved <= 1.01 * bound).all() and np.abs(moved).max() > 1e-4 * np.abs(exact).max()


def test_a_product_with_a_scaled_or_a_foreign_matrix_is_left_alone() -> None:
    weight, values = packed(4, 64, 192, True)
    matrix = decoded.key(weight.dequantize().numpy())
    for form, change in (("Gemm", {"alpha": 2.0}), ("Gemm", {"transA": 1}), ("Gather", {"axis": 1}), ("MatMul", {})):
        model = graph_of(form, values if change else 2 * values)
        model.graph.node[0].attribute.extend(helper.make_attribute(name, value) for name, value in change.items())
        before = model.SerializeToString()
        found = Laying(model.graph, {matrix: "layer"}, 0).replace({matrix: weight}, {matrix: weight})
        assert found == (set(), set()) and model.SerializeToString() == before


# -- models ----------------------------------------------------------------------------------------


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


# -- what is refused --------------------------------------------------------------------------------


class _Two(nn.Module):
    """A table and a layer of one matrix, such as tied ones."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.table, self.head = PackedEmbedding(weight), PackedLinear(weight, None)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(input_ids % ROWS))


def given_to(weight: PackedWeight, plain: dict[str, str] | None = None) -> tuple[Any, dict[str, str]]:
    spec = conformance.TINY_SPECS["bert"]
    return codes_onnxruntime.with_codes(_Two(weight), spec, 0, plain or {})


def of_zeros(**more: torch.Tensor) -> PackedWeight:
    codes = torch.zeros(ROWS, 64, dtype=torch.uint8)
    return PackedWeight.from_codes(codes, torch.ones(ROWS, 1), bits=4, group_size=64, **more)


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (packed(3, 64, 64, True)[0], "3 bits"),
        (packed(4, 24, 96, True)[0], "groups of 24, no multiple of 16 columns"),
        (of_zeros(levels=torch.arange(16.0)), "codes of a table of values"),
        (of_zeros(zero=torch.full((ROWS, 1), 7.5)), "zero points between codes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_codes_that_no_operator_takes_are_refused_with_the_layer_and_the_grid(weight: PackedWeight, told: str) -> None:
    with pytest.raises(Unsupported) as caught:
        given_to(weight)
    assert f"no kernel takes these codes ({told}): " in str(caught.value) and "(head is the first of 1 " in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_layer_that_the_graph_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an exporter would that folds a number into a weight."""
    weight, values = packed(4, 64, 192, True)
    monkeypatch.setattr(codes_onnxruntime, "to_onnx", lambda *_: graph_of("MatMul", 2 * values))
    with pytest.raises(PressbenchError, match="head: the exported graph does not hold its decoded weight"):
        given_to(weight)


def test_a_table_that_is_not_looked_up_and_a_head_that_is_not_covered_are_decoded_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, values = packed(4, 64, 192, True)
    monkeypatch.setattr(codes_onnxruntime, "to_onnx", lambda *_: graph_of("MatMul", values))
    made, left = given_to(weight)
    assert left == {"table": "no rows of it are looked up in the graph"} and coded(made.graph, "MatMulNBits")
    with pytest.raises(Unsupported, match=r"no kernel takes these codes \(head = false\)"):
        given_to(weight, {"head": "head = false"})


def test_an_uncovered_head_keeps_the_dense_weights() -> None:
    rounding, _ = WeightOnlyOnnxRuntime(bits=8, group_size=32, head=False).steps
    model = conformance.subject("llama").dense.model()
    before = model.lm_head.weight.detach().clone()
    context = conformance.subject("llama").context(rounding)
    after = rounding.compress(model, context).model
    assert torch.equal(after.lm_head.weight, before) and type(after.model.embed_tokens) is nn.Embedding
    layer = surgery.get(after, surgery.block_linears(conformance.subject("llama").dense.model())[0])
    assert isinstance(layer, PackedLinear) and layer.packed.layout == Layout(8, 32, zero_points=True)


def test_what_is_packed_already_is_not_rounded_again() -> None:
    bert = conformance.subject("bert")
    rounded = conformance._made((QuantizeWeights(bits=4),), "bert")
    first, _ = WeightOnlyOnnxRuntime(bits=4).steps
    with pytest.raises(Unsupported, match="the weights are packed already"):
        first.compress(rounded.model(), bert.context(first))
    with pytest.raises(Unsupported, match="no linear layer is packed: a method that rounds must be before it"):
        WeightOnlyOnnxRuntime(bits=None).compress(bert.dense.model(), bert.context())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bits": 3}, "bits = 3: must be one of 4, 8, None"),
        ({"group_size": 48}, "group_size = 48: must be one of 16, 32, 64, 128, 256"),
        ({"accuracy_level": 2}, "accuracy_level = 2: must be one of 0, 4"),
    ],
)
def test_parameters_out_of_range_are_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WeightOnlyOnnxRuntime(**wrong)
