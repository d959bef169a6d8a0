"""The layer of fp8 on a CPU, against float64 and a decoder of e4m3 written by hand; not on a GPU, which it is for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors.quantization.fp8_kernels import Fp8Linear, fitted, scale_for

SHAPES = [(96, 192), (64, 64), (3, 5), (48, 50)]
BY_ROW = pytest.mark.parametrize("by_row", [True, False], ids=["row", "tensor"])
BF16 = 2.0**-8
"""The most that rounding to bf16 moves a number by, of itself; half of it to nearest."""


def decoded(codes: np.ndarray) -> np.ndarray:
    """Bytes of e4m3 -> float64, by the table of the paper: S.EEEE.MMM, bias 7, no infinity, S.1111.111 is NaN."""
    sign, exponent, mantissa = np.where(codes >> 7, -1.0, 1.0), (codes >> 3 & 15).astype(int), (codes & 7).astype(int)
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.where(codes & 127 == 127, np.nan, sign * size)


TABLE = np.unique(decoded(np.arange(256, dtype=np.uint8))[np.r_[0:127, 128:255]])


def as_bytes(codes: Tensor) -> np.ndarray:
    return codes.view(torch.uint8).numpy()


def weights(shape: tuple[int, int]) -> Tensor:
    """Of rows that differ by four decades."""
    coin = torch.Generator().manual_seed(5)
    return torch.randn(shape, generator=coin) * torch.logspace(-3, 1, shape[0])[:, None]


def filled(shape: tuple[int, int], by_row: bool, bias: torch.dtype | None = torch.float32) -> Fp8Linear:
    shift = torch.randn(shape[0], generator=torch.Generator().manual_seed(6))
    made = Fp8Linear(*shape, None if bias is None else nn.Parameter(shift.to(bias), requires_grad=False), by_row)
    made.quantize(weights(shape))
    return made


def some_rows(rows: int, columns: int, by_row: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers whose scales are powers of two, and what they are rounded to, (rows, columns) float64 each: values of
    e4m3 with 448 in each row, moved by up to 0.45 of the way to the next value."""
    coin = np.random.default_rng(4)
    place = coin.integers(1, len(TABLE) - 1, (rows, columns))
    down, up = TABLE[place] - TABLE[place - 1], TABLE[place + 1] - TABLE[place]
    seen, off = TABLE[place], coin.uniform(-0.45, 0.45, (rows, columns))
    values = seen + np.where(off < 0, off * down, off * up)
    seen[:, 0] = values[:, 0] = np.where(np.arange(rows) % 2, -448.0, 448.0)
    scale = 2.0 ** -(np.arange(rows)[:, None] % 9 if by_row else np.full((rows, 1), 3.0))
    return values * scale, seen * scale


def answered(layer: Fp8Linear, values: np.ndarray | Tensor, dtype: torch.dtype = torch.float32) -> np.ndarray:
    with torch.inference_mode():
        found = layer(torch.as_tensor(values).to(dtype))
    assert found.dtype == dtype
    return found.double().numpy()


def misses(found: np.ndarray, layer: Fp8Linear, seen: np.ndarray, codes: np.ndarray, rounded: bool) -> np.ndarray:
    """By how much of what is allowed it differs from activations as they are to be seen, times codes and scales, plus
    bias, in float64. rounded: to bf16 on the way, of sums, of their scaling and of the answer."""
    scale = layer.scale.double().numpy().reshape(-1, 1)
    weight = decoded(codes) * scale
    bias = np.zeros(1) if layer.bias is None else layer.bias.double().numpy()
    wanted = seen @ weight.T
    reach = np.abs(seen) @ np.abs(weight).T + np.abs(bias)
    allowed = 1e-6 * reach + (BF16 * (2 * np.abs(wanted) + np.abs(wanted + bias)) if rounded else 0)
    return np.abs(found - wanted - bias) / np.maximum(allowed, 1e-300)


# -- codes ---------------------------------------------------------------------------------------


def test_the_table_by_hand_is_that_of_the_format() -> None:
    assert len(TABLE) == 253 and TABLE.max() == 448 and TABLE[TABLE > 0].min() == 2.0**-9
    assert np.isnan(decoded(np.array([0x7F, 0xFF], dtype=np.uint8))).all()


@BY_ROW
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_weight_becomes_the_nearest_value(shape: tuple[int, int], by_row: bool) -> None:
    layer, weight = filled(shape, by_row), weights(shape).double().numpy()
    scale = layer.scale.double().numpy().reshape(-1, 1)
    largest = np.abs(weight).max(1, keepdims=True) if by_row else np.abs(weight).max()
    assert scale.shape == ((shape[0], 1) if by_row else (1, 1)) and np.allclose(scale * 448, largest, rtol=1e-6)
    found, wanted = decoded(as_bytes(layer.codes)), weight / scale
    nearest = np.abs(wanted[..., None] - TABLE).min(-1)
    assert (np.abs(found - wanted) <= nearest + 1e-6 * np.abs(wanted)).all()
    assert np.abs(found).max() == 448 and (not by_row or (np.abs(found).max(1) == 448).all())
    # Of itself by a 16th, below 2^-6 by 2^-10.
    assert (np.abs(found - wanted) <= np.maximum(np.abs(wanted) / 16, 2.0**-10) * (1 + 1e-6)).all()
    assert np.allclose(layer.dequantize().double().numpy(), found * scale, rtol=1e-6, atol=0)


@BY_ROW
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_activation_becomes_the_nearest_value_whatever_its_type(by_row: bool, dtype: torch.dtype) -> None:
    given = torch.randn(64, 192, generator=torch.Generator().manual_seed(8)).to(dtype)
    values = given.double().numpy()
    scale = (np.abs(values).max(1, keepdims=True) if by_row else np.abs(values).max()) / 448
    found, wanted = filled((96, 192), by_row).rounded(given).double().numpy() / scale, values / scale
    nearest = np.abs(wanted[..., None] - TABLE).min(-1)
    assert (np.abs(found - wanted) <= nearest + 1e-6 * np.abs(wanted)).all()


def test_halfway_goes_to_the_even_one() -> None:
    layer = Fp8Linear(1, 5, None, False)
    layer.quantize(torch.tensor([[448.0, 1.0625, 1.1875, -1.0625, 2.0**-10]]))
    assert decoded(as_bytes(layer.codes)).tolist() == [[448, 1, 1.25, -1, 0]]


def test_what_is_beyond_the_largest_value_is_taken_for_it() -> None:
    values = torch.tensor([[-1e30, -449.0, 448.0, 465.0, 1e4]])
    assert fitted(values, torch.tensor(1.0)).tolist() == [[-448, -448, 448, 448, 448]]
    assert fitted(values / 4, torch.tensor([[0.25]])).tolist() == [[-448, -448, 448, 448, 448]]


@BY_ROW
def test_the_smallest_numbers_have_a_scale(by_row: bool) -> None:
    for size in (0.0, 1e-45, 1e-38, 1e-31):
        scale = scale_for(torch.full((2, 3), size), by_row)
        found = fitted(torch.full((2, 3), size), scale)
        assert bool((scale > 0).all()) and bool(found.isfinite().all()) and float(found.max()) <= 448


# -- products ------------------------------------------------------------------------------------


@BY_ROW
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 37])
def test_it_is_quantize_multiply_scale_and_add(shape: tuple[int, int], by_row: bool, rows: int) -> None:
    values, seen = some_rows(rows, shape[1], by_row)
    for bias, dtype in itertools.product((None, torch.float32, torch.bfloat16), (torch.float32, torch.bfloat16)):
        layer, given = filled(shape, by_row, bias), values
        if dtype == torch.bfloat16:  # which has 8 bits: what is moved off the values of e4m3 might be moved back
            given = seen
        codes = as_bytes(layer.codes).copy()
        rounded = by_row or dtype == torch.bfloat16
        assert misses(answered(layer, given, dtype), layer, seen, codes, dtype == torch.bfloat16).max() <= 1
        layer.place()
        assert misses(answered(layer, given, dtype), layer, seen, codes, rounded).max() <= 1
        layer.release()
        assert misses(answered(layer, given, dtype), layer, seen, codes, rounded).max() <= 1


@BY_ROW
def test_shapes_and_types_are_kept(by_row: bool) -> None:
    layer = filled((96, 192), by_row)
    layer.place()
    with torch.inference_mode():
        values = torch.randn(2, 3, 192, generator=torch.Generator().manual_seed(1))
        assert torch.equal(layer(values).flatten(0, 1), layer(values.flatten(0, 1)))
        assert layer(values[0, 0]).shape == (96,) and layer(values[None]).shape == (1, 2, 3, 96)
        across = torch.randn(192, 7, generator=torch.Generator().manual_seed(2))
        assert torch.equal(layer(across.T), layer(across.T.contiguous()))
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            assert layer(values.to(dtype)).dtype == dtype


@BY_ROW
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_rows_and_rows_of_zeros(by_row: bool, dtype: torch.dtype) -> None:
    layer = filled((48, 50), by_row, dtype)
    layer.place()
    for shape in ((0, 50), (2, 0, 50)):
        found = layer(torch.zeros(shape, dtype=dtype))
        assert found.shape == (*shape[:-1], 48) and found.dtype == dtype
    assert layer.bias is not None
    zeros = np.concatenate([np.zeros((2, 50)), some_rows(1, 50, by_row)[0]])
    assert np.array_equal(answered(layer, zeros, dtype)[:2], [layer.bias.double().numpy()] * 2)
    assert np.array_equal(answered(layer, zeros[:2], dtype), [layer.bias.double().numpy()] * 2)


@BY_ROW
def test_weights_of_zero_stay_zero(by_row: bool) -> None:
    layer = Fp8Linear(32, 20, None, by_row)
    weight = torch.zeros(32, 20)
    weight[1] = 1.0 if by_row else 0.0
    layer.quantize(weight)
    layer.place()
    found = answered(layer, np.random.default_rng(0).normal(size=(3, 20)))
    assert not found[:, [0, *range(2, 32)]].any() and bool(found[:, 1].any()) == by_row


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_its_own_scale_and_what_is_not_finite_spoils_itself_only(placed: bool, dtype: torch.dtype) -> None:
    values = np.random.default_rng(0).normal(size=(5, 192))
    spoilt = values.copy()
    spoilt[1], spoilt[2, 3], spoilt[3, 7], spoilt[4, 0] = 1e6, np.nan, np.inf, -np.inf
    for by_row in (True, False):
        layer = filled((96, 192), by_row)
        if placed:
            layer.place()
        alone, found = answered(layer, values[:1], dtype), answered(layer, spoilt, dtype)
        assert np.isnan(found[2:]).all()  # an infinity too: never a large number that looks like an answer
        if by_row:
            assert np.allclose(found[:1], alone, rtol=BF16, atol=1e-5 * np.abs(alone).max())
        else:
            assert np.isnan(found).all() and np.isnan(answered(layer, spoilt[[0, 3]], dtype)).all()


def test_an_outlier_costs_its_own_row_only_where_rows_have_scales() -> None:
    weight = weights((64, 128)) / torch.logspace(-3, 1, 64)[:, None]
    values = torch.randn(9, 128, generator=torch.Generator().manual_seed(7))
    weight[5] *= 3e5
    values[3] *= 3e5
    wanted = values.double().numpy() @ weight.double().numpy().T
    error = {}
    for by_row in (True, False):
        layer = Fp8Linear(64, 128, None, by_row)
        layer.quantize(weight)
        layer.place()
        away = np.abs(answered(layer, values) - wanted)
        usual = np.delete(np.delete(away, 3, 0), 5, 1)
        error[by_row] = np.sqrt(np.square(usual).mean() / np.square(np.delete(np.delete(wanted, 3, 0), 5, 1)).mean())
        matrix = np.abs(layer.dequantize().double().numpy() - weight.double().numpy())
        error[by_row, "weights"] = np.delete(matrix, 5, 0).max()
    assert error[True] < 0.05 and error[False] > 2 * error[True], error
    assert error[False, "weights"] > 2 * error[True, "weights"], error


def test_padding_is_laid_out_and_not_stored() -> None:
    layer = filled((3, 5), True)
    assert layer.padded == (13, 11) and filled((48, 64), True).padded == (0, 0)
    before = {name: values.shape for name, values in layer.state_dict().items()}
    layer.place()
    assert {name: values.shape for name, values in layer.state_dict().items()} == before
    assert before == {"codes": (3, 5), "scale": (3,), "bias": (3,)}
    assert layer.laid_out is not None and layer.laid_out.shape == (16, 16)


def test_its_type_can_be_asked_and_its_weights_not_be_mistaken() -> None:
    layer = filled((96, 192), True)
    assert layer.weight.shape == (96, 192) and layer.weight.dtype == torch.float32
    layer.answer_in(torch.bfloat16)
    assert layer.weight.dtype == torch.bfloat16 and bool(layer.weight.isnan().all())
    (weight, bias) = layer.logical_weights()
    assert (weight.count, weight.dtype, bias.dtype) == (96 * 192, "float8_e4m3fn", "float32")
    assert weight.nonzero == int(np.count_nonzero(decoded(as_bytes(layer.codes))))
