"""The operations of fused operators: those of the same graph in plain products, whose answers are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressors.runtimes.executed import Executed
from compressors.runtimes.onnxruntime import GRAPH, OnnxRuntime

ROWS = np.random.default_rng(3)
BATCH, TOKENS, WIDTH, HEADS = 2, 5, 24, 3
HEAD = WIDTH // HEADS
FLOAT = TensorProto.FLOAT


def values(*shape: int) -> np.ndarray:
    return ROWS.standard_normal(shape, dtype=np.float32)


class Graph:
    """Nodes, weights and inputs, put down one after the other."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: dict[str, np.ndarray] = {}
        self.functions: list[Any] = []

    def input(self, name: str, found: np.ndarray) -> str:
        self.inputs[name] = found
        return name

    def weight(self, found: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(found, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def node(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """The name of its first output."""
        names = [f"{kind}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0]

    def shaped(self, value: str, *shape: int) -> str:
        return self.node("Reshape", value, self.weight(np.array(shape, np.int64)))

    def attention(self, queries: str, keys: str, found: str, heads: int, groups: int, causal: bool = False) -> str:
        """In plain products; of (batch, tokens, width) each, `heads` of queries and `groups` of keys and values."""
        parts = [(queries, heads), (keys, groups), (found, groups)]
        q, k, v = (self.node("Transpose", self.shaped(x, BATCH, -1, n, HEAD), perm=[0, 2, 1, 3]) for x, n in parts)
        if groups != heads:
            each = self.weight(np.repeat(np.arange(groups), heads // groups))
            k, v = (self.node("Gather", x, each, axis=1) for x in (k, v))
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.node("Mul", scores, self.weight(np.float32(HEAD**-0.5)))
        if causal:
            unseen = np.triu(np.full((TOKENS, TOKENS), -np.inf, np.float32), 1)
            scores = self.node("Add", scores, self.weight(unseen))
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        return self.shaped(self.node("Transpose", mixed, perm=[0, 2, 1, 3]), BATCH, -1, heads * HEAD)

    def projected(self, value: str, weight: np.ndarray) -> str:
        return self.node("MatMul", value, self.weight(weight))

    def split(self, value: str, *widths: int) -> list[str]:
        first = self.node("Split", value, self.weight(np.array(widths)), axis=-1, outputs=len(widths))
        return [f"{first[:-1]}{i}" for i in range(len(widths))]

    def model(self, answer: str) -> Any:
        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(found.dtype), found.shape)
            for name, found in self.inputs.items()
        ]
        out = [helper.make_tensor_value_info(answer, FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", given, out, self.weights)
        used = [helper.make_opsetid(name, version) for name, version in (("", 23), ("com.microsoft", 1), ("mine", 1))]
        return helper.make_model(graph, opset_imports=used, functions=self.functions, ir_version=10)

    def counted(self, answer: str, folder: Path) -> tuple[Executed | None, np.ndarray]:
        model = self.model(answer)
        onnx.save(model, folder / GRAPH)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (out,) = session.run([answer], self.inputs)
        return OnnxRuntime().executed(folder, {"options": {}}, self.inputs), out


def fused_attention(one: Graph, plain: bool) -> str:
    """With the projection of queries, keys and values in it."""
    x, weight = one.input("x", values(BATCH, TOKENS, 7)), values(7, 3 * WIDTH)
    bias = np.zeros(3 * WIDTH, np.float32)
    if plain:
        return one.attention(*one.split(one.projected(x, weight), WIDTH, WIDTH, WIDTH), HEADS, HEADS)
    return one.node("Attention", x, one.weight(weight), one.weight(bias), domain="com.microsoft", num_heads=HEADS)


def projected_after_a_past(one: Graph, plain: bool) -> str:
    """With the projection in it, and nine tokens cached."""
    x, weight = one.input("x", values(BATCH, TOKENS, 7)), values(7, 3 * WIDTH)
    past = values(2, BATCH, HEADS, 9, HEAD)
    if plain:
        q, k, v = one.split(one.projected(x, weight), WIDTH, WIDTH, WIDTH)
        laid = [one.weight(old.swapaxes(1, 2).reshape(BATCH, 9, WIDTH).copy()) for old in past]
        k, v = (one.node("Concat", old, new, axis=1) for old, new in zip(laid, (k, v), strict=True))
        return one.attention(q, k, v, HEADS, HEADS)
    bias = one.weight(np.zeros(3 * WIDTH, np.float32))
    return one.node(
        "Attention", x, one.weight(weight), bias, "", one.weight(past), domain="com.microsoft", num_heads=HEADS,
        outputs=2,
    )  # fmt: skip


def across(one: Graph, plain: bool) -> str:
    """Queries look at more keys than there are queries."""
    q, k, v = (one.input(name, values(BATCH, n, WIDTH)) for name, n in (("q", TOKENS), ("k", 9), ("v", 9)))
    if plain:
        return one.attention(q, k, v, HEADS, HEADS)
    return one.node("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=HEADS)


def by_heads(one: Graph, plain: bool) -> str:
    """Keys and values that lie head by head, as those of an encoder that are kept."""
    q, k, v = one.input("q", values(BATCH, TOKENS, WIDTH)), values(BATCH, 9, WIDTH), values(BATCH, 9, WIDTH)
    if plain:
        return one.attention(q, one.input("k", k), one.input("v", v), HEADS, HEADS)
    k, v = (x.reshape(BATCH, 9, HEADS, HEAD).swapaxes(1, 2).copy() for x in (k, v))
    return one.node(
        "MultiHeadAttention", q, one.input("k", k), one.input("v", v), domain="com.microsoft", num_heads=HEADS
    )


def after_a_past(one: Graph, plain: bool) -> str:
    """Nine tokens are cached."""
    q, k, v = (one.input(name, values(BATCH, TOKENS, WIDTH)) for name in "qkv")
    past = [values(BATCH, HEADS, 9, HEAD) for _ in "kv"]
    if plain:
        laid = [one.weight(x.swapaxes(1, 2).reshape(BATCH, 9, WIDTH).copy()) for x in past]
        k, v = (one.node("Concat", old, new, axis=1) for old, new in zip(laid, (k, v), strict=True))
        return one.attention(q, k, v, HEADS, HEADS)
    kept = [one.weight(x) for x in past]
    return one.node(
        "MultiHeadAttention", q, k, v, "", "", "", *kept, domain="com.microsoft", num_heads=HEADS, outputs=3
    )


def grouped(one: Graph, plain: bool) -> str:
    """Four heads of queries, two of keys and values; all in one, as exporters leave it."""
    x = one.input("x", values(BATCH, TOKENS, 8 * HEAD))
    if plain:
        return one.attention(*one.split(x, 4 * HEAD, 2 * HEAD, 2 * HEAD), 4, 2, causal=True)
    nothing = one.weight(np.zeros((BATCH, 2, 0, HEAD), np.float32))
    lengths, all_ = one.weight(np.full(BATCH, TOKENS - 1, np.int32)), one.weight(np.array(TOKENS, np.int32))
    return one.node(
        "GroupQueryAttention", x, "", "", nothing, nothing, lengths, all_, domain="com.microsoft", num_heads=4,
        kv_num_heads=2, outputs=3,
    )  # fmt: skip


def of_onnx(one: Graph, plain: bool) -> str:
    """The operator of ONNX itself."""
    q, k, v = (one.input(name, values(BATCH, TOKENS, WIDTH)) for name in "qkv")
    if plain:
        return one.attention(q, k, v, HEADS, HEADS)
    return one.node("Attention", q, k, v, q_num_heads=HEADS, kv_num_heads=HEADS)


def fused_gemm(one: Graph, plain: bool) -> str:
    x, weight, bias = one.input("x", values(7, 4)), one.weight(values(7, 6)), one.weight(values(6))
    if plain:
        return one.node("Relu", one.node("Gemm", x, weight, bias, transA=1))
    return one.node("FusedGemm", x, weight, bias, transA=1, activation="Relu", domain="com.microsoft")


def einsum(one: Graph, plain: bool) -> str:
    x, weight = one.input("x", values(BATCH, TOKENS, WIDTH)), values(WIDTH, 4)
    if plain:
        return one.projected(x, weight)
    return one.node("Einsum", x, one.weight(weight), equation="...i, ij -> ...j")


def in_a_function(one: Graph, plain: bool) -> str:
    """What exporters put into a function of the file."""
    x, weight = one.input("x", values(TOKENS, WIDTH)), values(WIDTH, 4)
    if plain:
        return one.projected(x, weight)
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    one.functions = [helper.make_function("mine", "Linear", ["a", "b"], ["c"], body, [helper.make_opsetid("", 23)])]
    return one.node("Linear", x, one.weight(weight), domain="mine")


@pytest.mark.parametrize(
    "what",
    [
        fused_attention,
        projected_after_a_past,
        across,
        by_heads,
        after_a_past,
        grouped,
        of_onnx,
        fused_gemm,
        einsum,
        in_a_function,
    ],
)
def test_as_many_as_of_the_same_in_plain_products(what: Any, tmp_path: Path) -> None:
    global ROWS
    found = {}
    for plain in (True, False):
        ROWS = np.random.default_rng(3)
        one = Graph()
        answer = what(one, plain)
        found[plain] = one.counted(answer, tmp_path)
    (before, wanted), (after, answers) = found[True], found[False]
    np.testing.assert_allclose(answers, wanted, rtol=1e-5, atol=1e-5)
    assert before is not None and after is not None
    assert after.operations == before.operations and after.total > 0
    assert after.weight_bytes == before.weight_bytes


def test_attention_on_integers_reads_its_weights_as_they_are_stored(tmp_path: Path) -> None:
    one = Graph()
    x = one.input("x", ROWS.integers(0, 255, (BATCH, TOKENS, WIDTH), dtype=np.uint8))
    weight = one.weight(ROWS.integers(-127, 127, (WIDTH, 3 * WIDTH), dtype=np.int8))
    bias, scale = one.weight(np.zeros(3 * WIDTH, np.float32)), one.weight(np.float32(0.01))
    zero, none = one.weight(np.uint8(128)), one.weight(np.int8(0))
    answer = one.node(
        "QAttention", x, weight, bias, scale, scale, "", zero, none, domain="com.microsoft", num_heads=HEADS
    )
    counted, _ = one.counted(answer, tmp_path)
    assert counted is not None
    rows = BATCH * TOKENS
    assert counted.operations == {"int8": 2 * rows * WIDTH * 3 * WIDTH, "float32": 2 * 2 * rows * WIDTH * TOKENS}
    assert counted.weight_bytes == WIDTH * 3 * WIDTH


def test_a_product_on_integers_with_scales_beside_each_reads_its_weights(tmp_path: Path) -> None:
    one = Graph()
    x = one.input("x", ROWS.integers(0, 255, (TOKENS, WIDTH), dtype=np.uint8))
    scale, zero = one.weight(np.float32(0.01)), one.weight(np.uint8(128))
    weight, none = one.weight(ROWS.integers(-127, 127, (WIDTH, 4), dtype=np.int8)), one.weight(np.int8(0))
    answer = one.node("QGemm", x, scale, zero, weight, scale, none, domain="com.microsoft")
    counted, _ = one.counted(answer, tmp_path)
    assert counted is not None
    assert (counted.operations, counted.weight_bytes) == ({"int8": 2 * TOKENS * WIDTH * 4}, WIDTH * 4)


def recurrent(one: Graph) -> str:
    x = one.input("x", values(TOKENS, BATCH, WIDTH))
    return one.node("GRU", x, one.weight(values(1, 12, WIDTH)), one.weight(values(1, 12, 4)), hidden_size=4)


def chosen(one: Graph) -> str:
    """A product that is in one of two branches."""
    one.input("x", values(TOKENS, WIDTH))
    weight = one.weight(values(WIDTH, WIDTH))
    branches = {
        name: helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}.out", FLOAT, None)])
        for name, node in (
            ("then_branch", helper.make_node("MatMul", ["x", weight], ["then_branch.out"])),
            ("else_branch", helper.make_node("Identity", ["x"], ["else_branch.out"])),
        )
    }
    return one.node("If", one.weight(np.array(True)), **branches)


@pytest.mark.parametrize("what", [recurrent, chosen])
def test_nothing_is_told_where_not_all_can_be_counted(what: Any, tmp_path: Path) -> None:
    one = Graph()
    counted, _ = one.counted(what(one), tmp_path)
    assert counted is None
