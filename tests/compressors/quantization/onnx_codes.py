"""Made-up codes, graphs to lay them in, and a reader of such graphs.

It reads by the definition of the operators, in float64, with nothing of the code that writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from compressors.quantization.packed import PackedWeight

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
