"""int8 layers in torch: the product against float64, what saturates, ranges, and what a row is to its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.hardware import select
from compressors.interface import PressbenchError
from compressors.quantization.int8_kernels import DynamicInt8Linear, Int8x8Linear, StaticInt8Linear, saturates

SHAPES = [(96, 192), (3, 5), (384, 64)]
LOW, STEP, ZERO = -1.25, 2.0**-6, 80
"""Of the static layers here: 256 points from -80 to 175 steps."""


def filled(cls: type[Int8x8Linear], shape: tuple[int, int], *, bias: bool = True, steps: int = 63) -> Int8x8Linear:
    """A layer whose rows differ by four decades, laid out for the product."""
    coin = torch.Generator().manual_seed(5)
    weight = torch.randn(shape, generator=coin) * torch.logspace(-3, 1, shape[0])[:, None]
    shift = nn.Parameter(torch.randn(shape[0], generator=coin), requires_grad=False) if bias else None
    made = cls(*shape, shift)
    made.quantize(weight, steps)
    if isinstance(made, StaticInt8Linear):
        made.expect(LOW, LOW + 255 * STEP)
    return made


def between(codes: np.ndarray) -> np.ndarray:
    """Codes and up to 0.45 beyond them: what rounds to them and to nothing else. The ends stay."""
    off = np.random.default_rng(3).uniform(-0.45, 0.45, codes.shape)
    return codes + np.where((codes == 0) | (codes == 255), 0, off)


def some_codes(rows: int, columns: int) -> np.ndarray:
    """Each row with both ends."""
    codes = np.random.default_rng(4).integers(0, 256, (rows, columns))
    codes[:, 0], codes[:, 1] = 255, 0
    return codes


def answered(layer: Int8x8Linear, values: np.ndarray | Tensor) -> np.ndarray:
    with torch.inference_mode():
        return layer(torch.as_tensor(values, dtype=torch.float32)).double().numpy()


def near(found: np.ndarray, layer: Int8x8Linear, seen: np.ndarray, weight: np.ndarray) -> bool:
    """Whether these are activations as the product sees them, (n, in), times codes, (out, in), times scales, and the
    bias, in float64: to the rounding of fp32, in units of what a row and an output may reach."""
    scale, weight = layer.scale.double().numpy(), weight.astype(np.float64)
    bias = np.zeros(1) if layer.bias is None else layer.bias.double().numpy()
    wanted = seen @ weight.T * scale + bias
    reach = np.abs(seen).max(1, keepdims=True) * np.abs(weight).sum(1) * scale + np.abs(bias)
    return bool((np.abs(found - wanted) <= 1e-6 * reach).all())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 37])
def test_dynamic_is_quantize_multiply_dequantize(shape: tuple[int, int], bias: bool, rows: int) -> None:
    layer, codes = filled(DynamicInt8Linear, shape, bias=bias), some_codes(rows, shape[1])
    step, low = 2.0 ** -(np.arange(rows)[:, None] % 9), np.arange(-rows, rows, 2)[:, None] / 8  # exact in fp32
    seen, weight, values = codes * step + low, layer.weight.numpy(), between(codes) * step + low
    assert near(answered(layer, values), layer, seen, weight)  # before it is laid out
    layer.place()
    assert near(answered(layer, values), layer, seen, weight)
    layer.release()
    assert near(answered(layer, values[None])[0], layer, seen, weight)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_static_is_quantize_multiply_dequantize_on_the_stored_grid(shape: tuple[int, int], bias: bool) -> None:
    layer, codes = filled(StaticInt8Linear, shape, bias=bias), some_codes(37, shape[1])
    assert (float(layer.step), int(layer.zero)) == (STEP, ZERO)
    seen, weight, values = (codes - float(ZERO)) * STEP, layer.weight.numpy(), (between(codes) - ZERO) * STEP
    assert near(answered(layer, values), layer, seen, weight)
    layer.place()
    layer.release()
    assert near(answered(layer, values[None])[0], layer, seen, weight)


def test_beyond_the_stored_range_lies_its_end_and_zero_is_exact() -> None:
    layer = filled(StaticInt8Linear, (96, 192))
    layer.place()
    codes = some_codes(5, 192)
    values = (codes - float(ZERO)) * STEP
    far = np.where(codes == 255, 1e6, np.where(codes == 0, -1e6, values))
    assert np.array_equal(answered(layer, far), answered(layer, values))
    assert layer.bias is not None
    assert np.array_equal(answered(layer, np.zeros((2, 192)))[0], layer.bias.double().numpy())


def test_a_range_without_zero_is_stretched_to_it() -> None:
    layer = filled(StaticInt8Linear, (96, 192))
    assert isinstance(layer, StaticInt8Linear)
    for low, high, zero in ((2.0, 5.1, 0), (-5.1, -2.0, 255), (0.0, 0.0, 0)):
        layer.expect(low, high)
        assert int(layer.zero) == zero
        reached = sorted(float(layer.step) * (code - zero) for code in (0, 255))
        assert reached == pytest.approx([min(low, 0), max(high, 0)], abs=1e-6)


def adversarial(columns: int) -> np.ndarray:
    """Code 0 once, so that a row reaches from 0, and 255 everywhere else."""
    codes = np.full((9, columns), 255)
    codes[:, -1] = 0
    return codes


@pytest.mark.parametrize("cls", [DynamicInt8Linear, StaticInt8Linear])
@pytest.mark.parametrize("code", [-63, 63, -64, 64])
def test_weights_of_seven_bits_never_saturate(cls: type[Int8x8Linear], code: int) -> None:
    layer, codes = filled(cls, (384, 384), bias=False), adversarial(384)
    layer.weight, layer.scale = torch.full((384, 384), code, dtype=torch.int8), torch.ones(384)
    if isinstance(layer, StaticInt8Linear):
        layer.expect(0.0, 255.0)
    layer.place()
    exact = codes.astype(np.int64) @ np.full((384, 384), code, dtype=np.int64).T
    assert np.abs(answered(layer, codes) - exact).max() <= 1


@pytest.mark.parametrize("cls", [DynamicInt8Linear, StaticInt8Linear])
def test_weights_of_eight_bits_are_exact_or_refused(cls: type[Int8x8Linear]) -> None:
    layer, codes = filled(cls, (384, 384), bias=False, steps=127), adversarial(384)
    assert int(layer.weight.abs().max()) == 127
    layer.weight, layer.scale = torch.full((384, 384), 127, dtype=torch.int8), torch.ones(384)
    if isinstance(layer, StaticInt8Linear):
        layer.expect(0.0, 255.0)
    if select("cpu").features & {"vnni", "amx"}:
        layer.place()
        assert np.abs(answered(layer, codes) - 255 * 383 * 127).max() <= 1
    else:
        with pytest.raises(PressbenchError, match="saturate in this CPU's int8 product, which has no VNNI"):
            layer.place()


def test_saturation_is_what_the_flags_of_the_processor_say() -> None:
    assert saturates() == (not select("cpu").features & {"vnni", "amx"})


def test_a_position_has_its_own_grid_whatever_stands_beside_it() -> None:
    layer = filled(DynamicInt8Linear, (96, 192))
    layer.place()
    values = np.random.default_rng(0).normal(size=(4, 192))
    alone = answered(layer, values[:1])
    values[1], values[2], values[3, 7] = 1e6, np.nan, np.inf
    found = answered(layer, values)
    assert np.array_equal(found[:1], alone)
    assert np.isnan(found[2]).all() and not np.isfinite(found[3]).any()


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e20])
def test_a_constant_row_is_not_divided_by_its_width(value: float) -> None:
    layer = filled(DynamicInt8Linear, (96, 192))
    layer.place()
    seen = np.full((2, 192), np.float32(value), dtype=np.float64)
    assert near(answered(layer, seen), layer, seen, layer.weight.numpy())


def test_shapes_and_types_are_kept() -> None:
    for cls in (DynamicInt8Linear, StaticInt8Linear):
        layer = filled(cls, (96, 192))
        layer.place()
        with torch.inference_mode():
            assert layer(torch.randn(2, 3, 5, 192)).shape == (2, 3, 5, 96)
            assert layer(torch.randn(192)).shape == (96,)
            assert layer(torch.randn(4, 192, dtype=torch.bfloat16)).dtype == torch.bfloat16
            assert layer(torch.randn(2, 192, 7).transpose(1, 2)).shape == (2, 7, 96)


def test_a_layer_whose_weights_are_zero_stays_so() -> None:
    layer = DynamicInt8Linear(16, 16, None)
    layer.quantize(torch.zeros(16, 16))
    layer.place()
    assert not answered(layer, np.random.default_rng(0).normal(size=(3, 16))).any()
