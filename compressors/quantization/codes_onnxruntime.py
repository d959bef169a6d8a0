"""The codes of packed layers in an ONNX graph, as ONNX Runtime's CPU kernels read them.

The graph is exported with decoded weights. Where one of them is multiplied with or looked up in, that node gives way to
an operator of com.microsoft that decodes as it goes, (code - zero point) * scale:

    MatMulNBits             codes (rows, blocks, bytes) uint8, of 4 bits two a byte, the first in the lower half;
                            scales (rows, blocks) float32; zero points packed like the codes, (rows, bytes) uint8, or
                            none for the middle of the codes. A narrower last block is filled up.
    GatherBlockQuantized    the same, the codes seen as (rows, bytes)

A block is a power of two of columns. It may be a part of a group, whose scale is then there for each of its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import ModelSpec
from compressors.quantization.bits import pack
from compressors.quantization.decoded import Key, decoded, key, misfit
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear
from compressors.runtimes.export import to_onnx
from compressors.runtimes.layers import WRAPPER

NARROWEST, WIDEST = 16, 256
"""Columns of a block."""
DOMAIN = "com.microsoft"


def with_codes(
    model: nn.Module, spec: ModelSpec, accuracy_level: int, plain: Mapping[str, str]
) -> tuple[Any, dict[str, str]]:
    """The onnx.ModelProto of a model with packed layers, with their codes in it, and the layers that are decoded to
    fp32 in it instead -> why. plain: layers to decode whatever their codes are -> why. Changes `model`. Raises
    Unsupported where no packed linear layer has codes that fit, and PressbenchError where one that is computed with is
    not found in the graph."""
    from onnx import helper

    found = decoded(model, spec, lambda name, layer: plain.get(name) or why_not(layer))
    made = to_onnx(model, spec)
    laying = Laying(made.graph, {matrix: name for name, matrix in found.layers.items()}, accuracy_level)
    products, tables = laying.replace(found.products, found.tables)
    looked_up = {name for name in found.layers if isinstance(surgery.get(model, name), nn.Embedding)}
    found.require(products, set(found.layers) - looked_up)
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    # A table that is read otherwise than row by row is there as it was decoded.
    missed = [name for name in looked_up & set(found.called) if found.layers[name] not in tables]
    return made, {**found.left, **dict.fromkeys(sorted(missed), "no rows of it are looked up in the graph")}


def why_not(layer: PackedLinear | PackedEmbedding) -> str | None:
    """Why no operator takes the codes of this layer, in a few words; None if one does."""
    weight = layer.packed
    block = block_size(weight)
    if misfit(weight) or not block:
        return misfit(weight) or f"groups of {weight.layout.group_size}, no multiple of {NARROWEST} columns"
    if isinstance(layer, PackedEmbedding) and weight.columns % block:
        return f"a table of {weight.columns} columns, which blocks of {block} do not divide"
    return None


def block_size(weight: PackedWeight) -> int:
    """The most columns of a block that every group is a multiple of, and the columns too unless only less than the
    narrowest block divides them; 0 where groups are multiples of no block."""
    group = weight.columns if weight.groups == 1 else weight.layout.group_size
    for size in (math.gcd(group, weight.columns, WIDEST), math.gcd(group, WIDEST)):
        if size >= NARROWEST:
            return size
    return NARROWEST if weight.groups == 1 else 0  # of one group the last block may be filled up


def stored(weight: PackedWeight) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes, scales and zero points of a weight, as the operators read them."""
    block, bits = block_size(weight), weight.layout.bits
    blocks = -(-weight.columns // block)
    group = torch.arange(blocks) * block // weight.layout.group_size
    codes = F.pad(weight.unpacked(), (0, blocks * block - weight.columns)).unflatten(1, (blocks, block))
    scale, zero = weight.scales()[:, group].expand(weight.rows, -1), weight.zeros()
    if zero is not None:
        zero = pack(zero[:, group].expand(weight.rows, -1).to(torch.uint8), bits)
    return pack(codes, bits).numpy(), scale.contiguous().numpy(), None if zero is None else zero.numpy()


class Laying:
    """A graph in which codes take the place of matrices. names: matrix -> the layer it is of."""

    def __init__(self, graph: Any, names: Mapping[Key, str], accuracy_level: int) -> None:
        self.graph, self.names, self.accuracy_level = graph, names, accuracy_level
        self.matrices = {tensor.name: tensor for tensor in graph.initializer}
        self.made = {name: node for node in graph.node for name in node.output}
        self.keys: dict[tuple[str, bool], Key | None] = {}
        self.laid: dict[Key, list[str]] = {}

    def replace(
        self, products: Mapping[Key, PackedWeight], tables: Mapping[Key, PackedWeight]
    ) -> tuple[set[Key], set[Key]]:
        """Replace the nodes that multiply with one of `products` or look up in one of `tables`; which were found."""
        found: tuple[set[Key], set[Key]] = (set(), set())
        nodes: list[Any] = []
        for node in self.graph.node:
            table = node.op_type == "Gather"
            wanted = tables if table else products
            matrix = self._matrix(node)
            if matrix is None or matrix not in wanted:
                nodes.append(node)
                continue
            found[table].add(matrix)
            nodes += (self._look_up if table else self._product)(node, matrix, wanted[matrix])
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self._drop_unread()
        return found

    def _matrix(self, node: Any) -> Key | None:
        """The matrix, (rows, columns), that a node multiplies with or looks up in, if it is a constant."""
        about = _attributes(node)
        if node.op_type == "MatMul":
            name, transposed = node.input[1], True
            source = self.made.get(name)
            if source is not None and source.op_type == "Transpose" and _attributes(source).get("perm") == [1, 0]:
                name, transposed = source.input[0], False
        elif node.op_type == "Gemm" and not about.get("transA", 0):
            if about.get("alpha", 1.0) != 1 or about.get("beta", 1.0) != 1:
                return None
            name, transposed = node.input[1], not about.get("transB", 0)
        elif node.op_type == "Gather" and about.get("axis", 0) == 0:
            name, transposed = node.input[0], False
        else:
            return None
        if (name, transposed) not in self.keys:
            self.keys[name, transposed] = self._key(name, transposed)
        return self.keys[name, transposed]

    def _key(self, name: str, transposed: bool) -> Key | None:
        from onnx import TensorProto, numpy_helper

        tensor = self.matrices.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        values = numpy_helper.to_array(tensor)
        return key(values.T if transposed else values)

    def _put(self, matrix: Key, weight: PackedWeight) -> list[str]:
        """The names of its codes, scales and zero points in the graph, where they are put once."""
        from onnx import numpy_helper

        if matrix not in self.laid:
            path = f"{WRAPPER}{self.names[matrix]}.weight"
            parts = zip((f"{path}_codes", f"{path}_scale", f"{path}_zero_point"), stored(weight), strict=True)
            tensors = [numpy_helper.from_array(values, name) for name, values in parts if values is not None]
            self.graph.initializer.extend(tensors)
            self.laid[matrix] = [tensor.name for tensor in tensors]
        return self.laid[matrix]

    def _product(self, node: Any, matrix: Key, weight: PackedWeight) -> Iterator[Any]:
        codes, scale, *zero = self._put(matrix, weight)
        inputs = [node.input[0], codes, scale, *zero]
        if len(node.input) > 2:  # the bias of a Gemm
            inputs += [""] * (5 - len(inputs)) + [node.input[2]]
        shape = {"K": weight.columns, "N": weight.rows}
        yield _replaced(node, "MatMulNBits", inputs, weight, **shape, accuracy_level=self.accuracy_level)

    def _look_up(self, node: Any, matrix: Key, weight: PackedWeight) -> Iterator[Any]:
        from onnx import helper, numpy_helper

        codes, scale, *zero = self._put(matrix, weight)
        rows = f"{codes}_by_row"  # a view of what a product may read too
        if rows not in self.made:
            self.made[rows] = node
            self.graph.initializer.append(numpy_helper.from_array(np.array([weight.rows, -1]), f"{rows}_shape"))
            yield helper.make_node("Reshape", [codes, f"{rows}_shape"], [rows])
        inputs = [rows, node.input[1], scale, *zero]
        yield _replaced(node, "GatherBlockQuantized", inputs, weight, gather_axis=0, quantize_axis=1)

    def _drop_unread(self) -> None:
        """Take out the matrices that nothing reads any more, and before them what transposed one."""

        def unread(name: str) -> bool:
            return not any(name in node.input for node in self.graph.node)

        asked = {name for name, _ in self.keys}
        for place in reversed(range(len(self.graph.node))):
            node = self.graph.node[place]
            if node.op_type == "Transpose" and node.input[0] in asked and unread(node.output[0]):
                del self.graph.node[place]
        for place in reversed(range(len(self.graph.initializer))):
            name = self.graph.initializer[place].name
            if name in asked and unread(name):
                del self.graph.initializer[place]


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _replaced(node: Any, kind: str, inputs: list[str], weight: PackedWeight, **attributes: int) -> Any:
    """An operator that makes of `inputs` and these codes what `node` made."""
    from onnx import helper

    given: Any = {**attributes, "bits": weight.layout.bits, "block_size": block_size(weight)}
    new = helper.make_node(kind, inputs, node.output, node.name, domain=DOMAIN, **given)
    new.metadata_props.extend(node.metadata_props)  # which module it belongs to
    return new
