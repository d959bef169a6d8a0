"""What one pass of an ONNX graph executes, by the shapes that its products have in a run.

Beside plain products there are the attention operators into which ONNX Runtime's own optimizer, optimum and vendors
fuse a graph: `Attention` holds the projection of queries, keys and values as well. Operators as documented in
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md and https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compressors.runtimes.executed import Executed, product

CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv")
INTEGER = (
    "MatMulInteger", "QLinearMatMul", "QGemm", "ConvInteger", "QLinearConv", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)  # fmt: skip
"""Products on integers of 8 bits."""
PLAIN = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits", *CONVOLUTIONS, *INTEGER)
"""Products of two tensors."""
SECOND = {"QLinearMatMul": 3, "QLinearConv": 3, "QGemm": 3}
"""Where the second of them is not the input after the first: each comes with a scale and a zero point."""
UNCOUNTED = frozenset({
    "ConvTranspose", "QLinearConvTranspose", "DeformConv", "LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "AttnLSTM",
    "PackedAttention", "PackedMultiHeadAttention", "PagedAttention", "SparseAttention", "LongformerAttention",
    "DecoderAttention", "DecoderMaskedSelfAttention", "DecoderMaskedMultiHeadAttention", "QOrderedAttention",
    "QOrderedMatMul", "QOrderedLongformerAttention", "MatMulBnb4", "MatMulFpQ4", "MoE", "QMoE", "GreedySearch",
    "BeamSearch", "Sampling", "WhisperBeamSearch", "TransposeMatMul", "GatedRelativePositionBias", "NhwcFusedConv",
    "CausalConvWithState", "LinearAttention", "GemmFastGelu",
})  # fmt: skip
"""Operators that multiply in ways that are not counted here."""
DOMAINS = ("", "ai.onnx", "com.microsoft")
_SEEN_THROUGH = ("DequantizeLinear", "Transpose", "QuantizeLinear")

Shape = Sequence[int]
Shapes = Sequence[Shape | None]
"""Of the inputs of an operator, None for one that is left out."""


def executed(model: Any, shapes_of: Callable[[Any, Sequence[str]], Mapping[str, Shape]]) -> Executed | None:
    """model: an onnx.ModelProto, whose outputs are changed. shapes_of: runs it, and tells the shapes of its outputs and
    inputs by name. None where it has an operator whose operations are not counted here."""
    import onnx.inliner

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    if any(_unknown(node) for node in graph.node):
        return None
    nodes = [node for node in graph.node if _multiplies(node)]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    wanted = {name for node in nodes for name in (*node.input, *node.output) if name and name not in stored}
    shapes = {**shapes_of(model, sorted(wanted)), **{name: list(tensor.dims) for name, tensor in stored.items()}}
    made = {name: node for node in graph.node for name in node.output}
    operations: Counter[str] = Counter()
    read = {}
    for node in nodes:
        weights = _operands(node)
        given = [shapes[name] if name else None for name in node.input]
        outs = [shapes[name] if name else None for name in node.output]
        for count, kind in _counted(node, given, outs, _operand_type(node, weights, made, stored)):
            operations[kind] += count
        for name in weights:
            source = name
            while source not in stored and source in made and made[source].op_type in _SEEN_THROUGH:
                source = made[source].input[0]
            if source in stored:
                read[source] = _bytes(stored[source])
    return Executed(dict(operations), sum(read.values()), dict(Counter(node.op_type for node in nodes)))


def _bytes(tensor: Any) -> int:
    """Of its values."""
    from onnx import numpy_helper

    return len(tensor.raw_data) or int(numpy_helper.to_array(tensor).nbytes)


def number(node: Any, name: str, otherwise: int | None = None) -> int:
    """An attribute of an operator."""
    found = (int(attribute.i) for attribute in node.attribute if attribute.name == name)
    return next(found) if otherwise is None else next(found, otherwise)


def _unknown(node: Any) -> bool:
    """Whether it, or one that it repeats or chooses, may multiply in a way that is not counted."""
    if node.domain not in DOMAINS or node.op_type in UNCOUNTED or number(node, "transBatchA", 0):
        return True
    inner = [one for a in node.attribute for graph in (a.g, *a.graphs) for one in graph.node]
    return any(_unknown(one) or _multiplies(one) for one in inner)


def _multiplies(node: Any) -> bool:
    return node.op_type in PLAIN or node.op_type in ATTENTIONS or _einsum(node)


def _counted(node: Any, given: Shapes, outs: Shapes, kind: str) -> Iterator[tuple[int, str]]:
    """Operations, and on operands of what type."""
    out = outs[0]
    assert out is not None
    if node.op_type in ATTENTIONS:
        one = ATTENTIONS[node.op_type](node, given, outs)
        yield one.projection, kind
        yield one.products, "float32" if node.op_type == "QAttention" else kind
    elif _einsum(node):
        yield _of_einsum(node, given), kind
    elif node.op_type in CONVOLUTIONS:
        weight = given[SECOND.get(node.op_type, 1)]
        assert weight is not None
        yield 2 * int(np.prod(out)) * int(np.prod(weight[1:])), kind
    else:
        first = given[0]
        assert first is not None
        inner = first[-2] if number(node, "transA", 0) and len(first) > 1 else first[-1]
        yield 2 * int(np.prod(out)) * inner, kind


# -- attention -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attended:
    """Operations of the projection, and of the two products of attention."""

    products: int
    projection: int = 0


def _with_projection(given: Shapes, outs: Shapes, past: int) -> _Attended:
    """(batch, tokens, width) × (width, queries + keys + values), then attention to (batch, tokens, values)."""
    first, weight, out = given[0], given[1], outs[0]
    assert first is not None and weight is not None and out is not None
    batch, tokens, width = first
    queries = (weight[1] - out[-1]) // 2
    before = given[past] if len(given) > past else None  # (2, batch, heads, tokens, head)
    every = tokens + (before[3] if before is not None else 0)
    return _Attended(
        product(batch * tokens, queries, every) + product(batch * tokens, every, out[-1]),
        product(batch * tokens, width, weight[1]),
    )


def _multi_head(node: Any, given: Shapes, outs: Shapes) -> _Attended:
    """Queries (batch, tokens, width); keys likewise, or (batch, heads, tokens, head)."""
    first, keys, out = given[0], given[1], outs[0]
    assert first is not None and keys is not None and out is not None
    before = given[6] if len(given) > 6 else None  # (batch, heads, tokens, head)
    every = keys[-2] + (before[2] if before is not None else 0)
    rows = first[0] * first[1]
    return _Attended(product(rows, first[2], every) + product(rows, every, out[-1]))


def _grouped(node: Any, given: Shapes, outs: Shapes) -> _Attended:
    """Queries (batch, tokens, width), packed with keys and values where these are left out; out as wide as queries.
    Where the cache that is handed on, (batch, heads, tokens, head), is no longer than the one that came, it has room to
    spare and its length is not what is looked at: then the new tokens alone count."""
    first, out = given[0], outs[0]
    assert first is not None and out is not None
    before, after = given[3] if len(given) > 3 else None, outs[1] if len(outs) > 1 else None
    every = after[2] if after is not None and (before is None or after[2] > before[2]) else first[1]
    return _Attended(2 * product(first[0] * first[1], out[-1], every))


def _attention(node: Any, given: Shapes, outs: Shapes) -> _Attended:
    """That of ONNX Runtime, or the operator of ONNX itself (23 and later): (batch, heads, tokens, head) or (batch,
    tokens, width) each."""
    if node.domain == "com.microsoft":
        return _with_projection(given, outs, 4)
    queries, keys, out = given[0], given[1], outs[0]
    assert queries is not None and keys is not None and out is not None
    before = given[4] if len(given) > 4 else None
    every = keys[-2] + (before[2] if before is not None else 0)
    rows = int(np.prod(queries[:-1]))
    return _Attended(product(rows, queries[-1], every) + product(rows, every, out[-1]))


ATTENTIONS: Mapping[str, Callable[[Any, Shapes, Shapes], _Attended]] = {
    "Attention": _attention,
    "QAttention": lambda node, given, outs: _with_projection(given, outs, 8),
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
}


# -- operands --------------------------------------------------------------------------------------


def _einsum(node: Any) -> bool:
    return bool(node.op_type == "Einsum")


def _of_einsum(node: Any, given: Shapes) -> int:
    """Of operands multiplied in one turn: an addition and a multiplication for each place of all their letters, and for
    each operand behind the second one more."""
    sizes: dict[str, int] = {}
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    for letters, shape in zip(equation.partition("->")[0].split(","), given, strict=True):
        assert shape is not None
        there = list(shape)
        before, dots, after = letters.partition("...")
        sizes |= dict(zip(before, there[: len(before)], strict=True))
        sizes |= dict(zip(after, there[len(there) - len(after) :], strict=True))
        more = there[len(before) : len(there) - len(after)] if dots else []
        for place, size in enumerate(reversed(more)):
            sizes[f"...{place}"] = max(size, sizes.get(f"...{place}", 1))
    return len(given) * int(np.prod(list(sizes.values()))) if len(given) > 1 else 0


def _operands(node: Any) -> tuple[str, ...]:
    """The names of the tensors that it multiplies and that may be weights."""
    if _einsum(node):
        return tuple(node.input)
    if node.op_type in ATTENTIONS and (node.op_type, node.domain) not in _PROJECTING:
        return ()
    return node.input[0], node.input[SECOND.get(node.op_type, 1)]


_PROJECTING = (("Attention", "com.microsoft"), ("QAttention", "com.microsoft"))


def _operand_type(node: Any, operands: Sequence[str], made: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    if node.op_type == "MatMulNBits":
        return f"int{number(node, 'bits')}"
    if node.op_type in INTEGER or node.op_type == "QAttention":
        return "int8"
    sources = [made[name].op_type for name in operands if name in made]
    if sources.count("DequantizeLinear") == 2:  # which the runtime computes in integers
        return "int8"
    weights = [stored[name].data_type for name in operands if name in stored]
    return {10: "float16", 16: "bfloat16"}.get(weights[0] if weights else 1, "float32")  # of onnx.TensorProto
