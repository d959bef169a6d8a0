"""A layer's codes on the kernels of ATen and OpenVINO: the very codes, and the values that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.quantization import codes_openvino
from compressors.quantization.kernels import Int4Linear, KernelLinear, kernel_for
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear

ROWS, COLUMNS = 48, 192


def packed(
    bits: int, group_size: int, *, zeros: bool = True, rows: int = ROWS, columns: int = COLUMNS, **more: Any
) -> tuple[PackedWeight, Tensor]:
    """Made-up codes, every one of them, and the values that they stand for by the definition, float64."""
    coin = torch.Generator().manual_seed(bits + group_size)
    groups = -(-columns // group_size)
    codes = torch.randint(0, 2**bits, (rows, columns), generator=coin).to(torch.uint8)
    scale = (torch.rand(rows, groups, generator=coin) + 0.1).to(more.pop("dtype", torch.float16))
    zero = torch.randint(0, 2**bits, (rows, groups), generator=coin).to(torch.uint8) if zeros else None
    weight = PackedWeight.from_codes(codes, scale, bits=bits, group_size=group_size, zero=zero, **more)
    group = np.arange(columns) // group_size
    middle = 2.0 ** (bits - 1) if zero is None else zero.double()[:, group]
    return weight, (codes.double() - middle) * scale.double()[:, group]


def halves(codes: Tensor) -> Tensor:
    """Two codes of 4 bits a byte, the first in the lower half."""
    return torch.stack([codes & 15, codes >> 4], -1).flatten(1)


# -- ATen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(
    ("group_size", "span"), [(32, 32), (64, 64), (128, 64), (192, 64), (256, 64), (96, 32)]
)  # 128 leaves a narrower last group in 192 columns; the kernel has two or more groups with the same scale
def test_4_bits_are_the_same_codes_and_values_within_a_16th_of_a_step(
    group_size: int, span: int, zeros: bool, dtype: torch.dtype
) -> None:
    weight, wanted = packed(4, group_size, zeros=zeros, dtype=dtype)
    kernel = kernel_for(PackedLinear(weight, None))
    assert isinstance(kernel, Int4Linear) and kernel.group_size == span
    kernel.take(weight)
    assert torch.equal(halves(kernel.codes), halves(weight.codes))
    step = weight.scale.double()[:, np.arange(COLUMNS) // group_size]
    moved = ((kernel.dequantize() - wanted).abs() / step).max()
    assert moved <= (1 / 16 if zeros else 1 / 32)


@pytest.mark.parametrize("per_row", [True, False])
def test_8_bits_are_the_same_codes_and_values_within_2_to_the_minus_8(per_row: bool) -> None:
    weight, wanted = packed(8, COLUMNS, zeros=False)
    if not per_row:  # one scale for all
        weight = PackedWeight.from_codes(weight.unpacked(), weight.scale[:1], bits=8, group_size=COLUMNS)
        wanted = (weight.codes.double() - 128) * weight.scale.double()
    kernel = kernel_for(PackedLinear(weight, None))
    assert isinstance(kernel, KernelLinear) and kernel.bits == 8
    kernel.take(weight)
    assert torch.equal(kernel.weight.int() + 128, weight.codes.int())
    assert bool(((kernel.dequantize() - wanted).abs() <= wanted.abs() * 2.0**-8).all())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_the_kernel_answers_as_the_packed_layer_over_its_column_scale(bits: int, bias: bool) -> None:
    column_scale = torch.logspace(-1, 1, COLUMNS)
    weight, values = packed(bits, 64 if bits == 4 else COLUMNS, zeros=bits == 4, column_scale=column_scale)
    own = nn.Parameter(torch.randn(ROWS).mul(100).bfloat16(), requires_grad=False) if bias else None
    kernel = kernel_for(PackedLinear(weight, own))
    assert isinstance(kernel, KernelLinear)
    kernel.take(weight)
    given = torch.randn(5, COLUMNS, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = nn.functional.linear(given.double(), values / column_scale.double(), None if own is None else own.double())
    for _ in range(2):  # from decoded weights, then by the kernel
        with torch.inference_mode():
            found = kernel(given).double()
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.02
        kernel.place()
        kernel.release()
    assert kernel(given).dtype == torch.bfloat16
    if bits == 4:
        assert kernel.codes.untyped_storage().nbytes() == 0


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (packed(3, 64), "3 bits"),
        (packed(4, 48), "4 bits in groups of 48"),
        (packed(4, 64, rows=40), "40 x 192, where both must be multiples of 16"),
        (packed(4, 64, levels=torch.arange(16.0)), "codes of a table of values"),
        (packed(8, 64, zeros=False), "8 bits in groups of 64"),
        (packed(8, COLUMNS), "8 bits with zero points"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_kernel_takes_is_told(weight: tuple[PackedWeight, Tensor], told: str) -> None:
    assert kernel_for(PackedLinear(weight[0], None)) == told


def test_a_scale_for_a_part_of_a_group_or_of_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale for every 64 columns"):
        packed(4, 96)[0].scales_and_zeros(64)
    with pytest.raises(ValueError, match="no scale for every 64 columns"):
        packed(4, 64, levels=torch.arange(16.0))[0].scales_and_zeros()


def test_a_packed_layer_in_a_bf16_model_keeps_its_scales_and_answers_in_bf16() -> None:
    weight, _ = packed(4, 64, column_scale=torch.linspace(1, 2, COLUMNS))
    model = nn.ModuleDict(
        {"table": PackedEmbedding(weight), "linear": PackedLinear(weight, nn.Parameter(torch.ones(ROWS)))}
    )
    before = weight.dequantize()
    surgery.cast(model, torch.bfloat16)
    assert torch.equal(weight.dequantize(), before) and weight.scale.dtype == torch.float16
    for ids in (torch.tensor([3]), torch.arange(ROWS)):
        assert torch.equal(model["table"](ids), before[ids].bfloat16())
    assert model["linear"](torch.ones(2, COLUMNS).bfloat16()).dtype == model["linear"].weight.dtype == torch.bfloat16


# -- OpenVINO --------------------------------------------------------------------------------------


def literal(source: Any) -> np.ndarray:
    """What operators make of constants, in float64, by their definitions."""
    node = source.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        values = np.asarray(node.get_data())
        if node.get_element_type().get_type_name() == "u4":
            values = np.stack([values & 15, values >> 4], -1).reshape(-1)[: np.prod(list(node.get_output_shape(0)))]
        return values.reshape(list(node.get_output_shape(0))).astype(np.float64)
    first, *others = (literal(node.input_value(i)) for i in range(node.get_input_size()))
    if kind == "Reshape":
        return first.reshape(others[0].astype(int))
    return first if kind == "Convert" else {"Subtract": np.subtract, "Multiply": np.multiply}[kind](first, *others)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [64, COLUMNS, 128])
@pytest.mark.parametrize("zeros", [True, False])
def test_the_graph_decodes_to_the_very_values_and_multiplies_with_the_stored_codes(
    bits: int, group_size: int, zeros: bool
) -> None:
    import openvino
    from openvino import opset13 as opset

    weight, wanted = packed(bits, group_size, zeros=zeros)
    source = codes_openvino.decoding(weight, "codes")
    assert np.array_equal(literal(source.output(0)), wanted.numpy())
    given = opset.parameter([-1, COLUMNS], openvino.Type.f32)
    product = opset.matmul(given, source, False, True)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "INFERENCE_NUM_THREADS": 1}
    model = openvino.Model([opset.result(product)], [given])
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    values = np.random.default_rng(0).standard_normal((3, COLUMNS)).astype(np.float32)
    assert compiled([values])[0] == pytest.approx(values.astype(np.float64) @ wanted.numpy().T, rel=1e-4, abs=2e-3)
    held = [node for node in compiled.get_runtime_model().get_ops() if kind(node) == "Const"]
    fixed = [node for node in held if node.get_output_partial_shape(0).is_static]
    assert {
        node.get_output_element_type(0).get_type_name()
        for node in fixed
        if np.prod(list(node.get_output_shape(0))) == ROWS * COLUMNS
    } == {f"u{bits}"}


def kind(node: Any) -> str:
    """Of an operator as the plugin runs it."""
    about = node.get_rt_info()
    return str(about["layerType"].astype(str)) if "layerType" in about else ""
