"""Codes of a rounding in the operators of ONNX Runtime: the very values, and what they are multiplied to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

sys.path.append(str(Path(__file__).parent))
from onnx_codes import ROWS, coded, graph_of, packed, read

from compressors.quantization import codes_onnxruntime, decoded
from compressors.quantization.codes_onnxruntime import Laying
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding
from compressors.runtimes.onnxruntime import OnnxRuntime

FORMS = ("MatMul", "Transpose", "Gemm", "Gather")
"""How an exporter writes a layer: with the transposed weight, or transposing it; with a bias; a look-up."""


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
