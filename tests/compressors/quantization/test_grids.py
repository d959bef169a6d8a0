"""The grids: every code is the nearest point, by a reader of the test's own; what lies on one already; GPTQ on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, registry
from compressors.build import build
from compressors.interface import PressbenchError, Unsupported
from compressors.quantization.gptq import QuantizeGptq
from compressors.quantization.grids.codebook import CodebookGrid
from compressors.quantization.grids.half_quadratic import HalfQuadraticGrid
from compressors.quantization.grids.normal import NormalGrid
from compressors.quantization.grids.powers import PowersGrid
from compressors.quantization.laid_grid import Grid, nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_weights import GRIDS

KINDS = {
    "log2": PowersGrid,
    "nf4": NormalGrid,
    "nf4-double": lambda bits, size: NormalGrid(bits, size, double=True),
    "codebook": CodebookGrid,
    "codebook-tensor": lambda bits, size: CodebookGrid(bits, size, per_tensor=True),
    "hqq": HalfQuadraticGrid,
}
every = pytest.mark.parametrize("kind", KINDS)


def matrix(rows: int = 12, columns: int = 40) -> Tensor:
    """Rows of very different size, and of both signs mostly."""
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))
    return values * torch.logspace(-3, 1, rows)[:, None]


def read(packed: PackedWeight) -> tuple[Tensor, Tensor]:
    """The codes, (rows, columns), and the value of every code at each place, (rows, columns, codes) float64."""
    layout, bits = packed.layout, packed.layout.bits
    numbers = [int.from_bytes(bytes(row), "little") for row in packed.codes.tolist()]
    codes = torch.tensor([[n >> (i * bits) & (2**bits - 1) for i in range(packed.columns)] for n in numbers])
    scale = packed.scale.double()
    if layout.scale_dtype == "uint8":
        flat = scale.flatten()
        least, step = packed.scale_range.double().T
        block = torch.arange(len(flat)) // 256
        scale = (least[block] + flat * step[block]).view(scale.shape)
    column = torch.arange(packed.columns) // layout.group_size
    points = packed.levels.double() if layout.levels else torch.arange(2**bits).double()
    if points.dim() == 1:
        points = points.expand(packed.rows, -1)
    points = points[:, None, :].expand(-1, packed.columns, -1)
    if layout.zero_points:
        assert layout.zero_dtype in ("float16", "float32")
        points = points - packed.zero.double()[:, column, None]
    return codes, points * scale[:, column, None]


@every
@pytest.mark.parametrize("size", [40, 16, 7])
@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_every_weight_is_at_the_nearest_point_of_what_is_stored(kind: str, bits: int, size: int) -> None:
    weight = matrix()
    weight[4] = 0
    packed = nearest(KINDS[kind](bits, size), weight)
    codes, points = read(packed)
    value = points.gather(2, codes[..., None])[..., 0]
    assert torch.allclose(packed.dequantize().double(), value, rtol=1e-5, atol=1e-9)
    away = (points - weight.double()[..., None]).abs()
    # Where two points are as near as each other, rounding in float32 may choose either.
    assert bool(((value - weight).abs() <= away.amin(2) * (1 + 1e-4) + 1e-6 * weight.abs().amax(1)[:, None]).all())
    assert torch.equal(packed.dequantize(torch.tensor([3, 0, 3])), packed.dequantize()[[3, 0, 3]])


@every
@pytest.mark.parametrize("value", [0.0, -3.0, 2.5, 1e-12, -1e-30, 1e30])
def test_a_matrix_of_one_value_is_no_trap(kind: str, value: float) -> None:
    decoded = nearest(KINDS[kind](4, 8), torch.full((2, 16), value)).dequantize()
    assert float((decoded - value).abs().max()) <= abs(value) * 2e-3


@every
def test_a_row_that_is_far_from_zero_and_a_tiny_one_keep_their_values(kind: str) -> None:
    spread = torch.linspace(-1, 1, 16)
    weight = torch.stack([100 + spread / 100, spread * 1e-7, spread * 1e-20, spread])
    decoded = nearest(KINDS[kind](4, 16), weight).dequantize()
    step = {"log2": 0.34, "nf4": 0.16, "nf4-double": 0.16}.get(kind, 0.07)
    for row in (1, 2, 3):
        if kind not in ("nf4-double", "codebook-tensor"):  # what rows share is laid where the large ones need it
            assert float((decoded[row] - weight[row]).abs().max()) <= step * float(weight[row].max()), row
    assert float((decoded[0] - 100).abs().max()) <= (0.011 if kind == "hqq" else 0.1 if "codebook" in kind else 0.2)


@every
@pytest.mark.parametrize("columns", [48, 41])
def test_rounded_at_once_is_what_the_codes_decode_to(kind: str, columns: int) -> None:
    weight, some = torch.randn(7, columns, generator=torch.Generator().manual_seed(1)), torch.arange(3, columns, 2)
    kept = weight.clone()
    laid = KINDS[kind](4, 8).lay(weight)
    values = weight[:, some]
    assert torch.equal(laid.rounded(values, some), laid.decode(laid.nearest(values, some), some))
    assert torch.equal(weight, kept) and torch.equal(values, kept[:, some]), "what is looked at changes"


@every
@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_what_is_not_finite_is_refused(kind: str, value: str) -> None:
    weight = torch.tensor([[1.0, float(value), 2.0, -1.0] * 2])
    for do in (lambda: nearest(KINDS[kind](4, 8), weight), lambda: KINDS[kind](4, 8).lay(weight)):
        with pytest.raises(PressbenchError, match="not finite"):
            do()


# -- weights that lie on the grid already ----------------------------------------------------------


@every
@pytest.mark.parametrize("size", [40, 10])
def test_what_was_rounded_is_on_the_grid_and_what_was_not_is_not(kind: str, size: int) -> None:
    if (kind, size) in {("codebook", 10), ("codebook-tensor", 10), ("codebook-tensor", 40)}:
        return  # a group's largest need not lie at 1, so that its scale is another the next time
    weight = torch.randn(12, 40, generator=torch.Generator().manual_seed(3)) if kind == "nf4-double" else matrix()
    weight[3] = 0
    grid = KINDS[kind](3, size)
    once = nearest(grid, weight).dequantize()
    assert grid.holds(once) and not grid.holds(weight)
    once[-1, -1] *= 1.03
    once[-1, -3] *= 0.98
    assert not grid.holds(once)


@every
def test_a_model_that_would_be_stored_without_change_is_unsupported(kind: str) -> None:
    """Evenly spaced values at any offset in groups of 32, as some models are published; for the others on their own."""
    subject = conformance.subject("llama")
    sizes = {"hqq": 32, "codebook": 10_000, "codebook-tensor": 10_000}
    method = registry.build(f"quantize-{kind.split('-')[0]}", {"group_size": sizes.get(kind, 16)})
    if kind == "nf4-double":
        method = dataclasses.replace(method, double_quantization=True)
    if kind == "codebook-tensor":
        method = dataclasses.replace(method, table="tensor")
    model = subject.dense.model()
    with torch.no_grad():
        for layer in model.model.layers.modules():
            if isinstance(layer, nn.Linear):
                weight = layer.weight
                if kind == "hqq":
                    groups = weight.unflatten(1, (-1, 32))
                    low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
                    step = (high - low) / 15
                    weight.copy_((((groups - low) / step).round() * step + low).flatten(1))
                elif "codebook" in kind:  # 16 values a row, or a tensor
                    weight.copy_(torch.linspace(-2, 3, 16)[(weight * 40).round().long().abs() % 16])
                    weight[:, 0] = 3  # the largest of each row, so that rows have one scale
                else:
                    weight.copy_(nearest(GRIDS[method.grid](4, 16), weight).dequantize())
    with pytest.raises(Unsupported, match="the weights lie on a 4-bit grid already"):
        method.compress(model, subject.context(method))


# -- with another rounding, and on disk ------------------------------------------------------------


def layer_error(weight: Tensor, packed: PackedWeight, moments: Tensor) -> float:
    off = packed.dequantize().double() - weight.double()
    return float(((off @ moments.double()) * off).sum())


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("name", ["log2", "nf4", "codebook", "hqq"])
def test_gptq_on_it_is_better_than_nearest(name: str, act_order: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(rows, 48, generator=generator) for rows in (24, 8)]
    inputs = torch.randn(400, 12, generator=generator) @ torch.randn(12, 48, generator=generator)
    inputs = inputs + torch.randn(400, 48, generator=generator) / 3
    moments = inputs.T @ inputs
    method = QuantizeGptq(bits=3, grid=name, group_size=16, act_order=act_order)
    for weight, packed in zip(weights, method.round([w.clone() for w in weights], moments), strict=True):
        plain = nearest(GRIDS[name](3, 16), weight, moments.diagonal())
        assert layer_error(weight, packed, moments) < 0.7 * layer_error(weight, plain, moments)
        codes, points = read(packed)
        value = points.gather(2, codes[..., None])[..., 0]
        assert torch.allclose(packed.dequantize().double(), value, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("parameters", [
    ("quantize-nf4", {"double_quantization": True, "group_size": 16}),
    ("quantize-hqq", {"bits": 3, "group_size": 24}),
    ("quantize-hqq", {"bits": 8}),
    ("quantize-codebook", {"table": "tensor", "importance": "none"}),
    ("quantize-log2", {"bits": 5, "embedding_bits": 4, "head_bits": 4}),
    ("quantize-gptq", {"grid": "codebook"}),
], ids=str)  # fmt: skip
def test_reloads_with_the_same_answers(parameters: tuple[str, dict], tmp_path: Path) -> None:
    subject = conformance.subject("llama")
    method = registry.build(*parameters)
    context = subject.context(method)
    inputs = {name: values.numpy() for name, values in subject.examples.inputs.items()}
    in_memory = method.compress(subject.dense.model(), context).model
    with torch.inference_mode():
        before = in_memory(**subject.examples.inputs).logits
    made = build([method], subject.dense, context, tmp_path)
    assert torch.equal(torch.from_numpy(made.load(threads=1)(inputs)), before)
    assert made.inventory().parameters == subject.dense.inventory().parameters


def test_a_grid_is_no_parameter_of_a_method_that_is_one() -> None:
    assert "grid" not in registry.build("quantize-nf4", {}).parameters
    with pytest.raises(PressbenchError, match="grid"):
        registry.build("quantize-nf4", {"grid": "linear"})


def test_a_grid_says_which_bits_it_has_before_anything_is_done() -> None:
    for name, parameters in (("quantize-log2", {"bits": 8}), ("quantize-gptq", {"grid": "log2", "head_bits": 7})):
        with pytest.raises(PressbenchError, match=r"bits = [78]: at most 6 on the grid of powers of two"):
            registry.build(name, parameters)


def test_a_laid_grid_of_real_offsets_takes_one_of_wider_ones() -> None:
    """A group that GPTQ lays anew may need float32 where the first did not."""
    grid: Grid = HalfQuadraticGrid(4, 8)
    laid = grid.lay(torch.randn(3, 16))
    assert laid.zero is not None and laid.zero.dtype == torch.float16
    far = 1e5 + torch.randn(3, 8)
    laid.put(1, grid.lay(far))
    columns = torch.arange(8, 16)
    assert float((laid.decode(laid.nearest(far, columns), columns) - far).abs().max()) < 0.3
