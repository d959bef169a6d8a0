"""Packed weights: bits to bytes and back, and codes to values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressors.quantization.bits import pack, unpack
from compressors.quantization.packed import PackedWeight, storable
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear, pack_layers, packable

WIDTHS = [1, 3, 7, 8, 13, 64]


def random_codes(bits: int, *shape: int) -> Tensor:
    return torch.randint(0, 2**bits, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(bits))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_survive_packing_and_take_the_bits_they_claim(bits: int, width: int) -> None:
    codes = random_codes(bits, 5, width)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (5, -(-width * bits // 8))
    assert torch.equal(unpack(packed, bits, width), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_row_is_one_little_endian_number(bits: int) -> None:
    """The format itself, against Python's own integers: files must stay readable."""
    codes = random_codes(bits, 21)
    number = sum(int(code) << (i * bits) for i, code in enumerate(codes))
    assert bytes(pack(codes, bits).tolist()) == number.to_bytes(-(-21 * bits // 8), "little")


def test_a_code_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="code 8 does not fit in 3 bits"):
        pack(torch.tensor([7, 8], dtype=torch.uint8), 3)


@pytest.mark.parametrize("bits", [0, 9])
def test_more_bits_than_a_byte_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 8"):
        pack(torch.zeros(4, dtype=torch.uint8), bits)


def test_scales_are_fp16_rounded_up() -> None:
    scale = torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 1e-4
    stored = storable(scale)
    assert stored.dtype == torch.float16
    assert bool((stored.float() >= scale).all())
    assert bool((stored.float() <= scale * (1 + 2**-10)).all())


@pytest.mark.parametrize("value", [1e-9, 3e-5, 1e5])
def test_scales_outside_fp16_stay_fp32(value: float) -> None:
    scale = torch.tensor([0.5, value])
    assert torch.equal(storable(scale), scale)


def test_a_scale_that_rounds_up_to_infinity_stays_fp32() -> None:
    scale = torch.tensor([65503.9])
    assert storable(scale).isfinite().all()
    scale = torch.tensor([torch.finfo(torch.float16).max - 1e-2])
    assert storable(scale).isfinite().all()


def layouts() -> list[tuple[str, PackedWeight]]:
    """Every way to store a (9, 13) matrix: shared scales, zero points, tables, uneven groups."""
    made = []
    for bits in (2, 3, 4, 8):
        for name, shape, size in (
            ("tensor", (1, 1), 13),
            ("channel", (9, 1), 13),
            ("group", (9, 3), 5),
            ("even", (9, 13), 1),
        ):
            scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
            codes, zero = random_codes(bits, 9, 13), random_codes(bits, *shape)
            levels = torch.randn(2**bits, generator=torch.Generator().manual_seed(2))
            for extra in ({}, {"zero": zero}, {"levels": levels}):
                weight = PackedWeight.from_codes(codes, scale, bits=bits, group_size=size, **extra)
                made.append((f"{bits}-{name}-{'-'.join(extra)}", weight))
    return made


@pytest.mark.parametrize("weight", [pytest.param(w, id=name) for name, w in layouts()])
def test_values_are_levels_less_zero_times_scale(weight: PackedWeight) -> None:
    layout = weight.layout
    codes = unpack(weight.codes, layout.bits, 13)
    zeros = unpack(weight.zero, layout.bits, weight.groups) if layout.zero_points else None
    values = weight.dequantize()
    for row in range(9):
        for column in range(13):
            scale_row, group = (0 if layout.per_tensor else row), column // layout.group_size
            code = int(codes[row, column])
            level = float(weight.levels[code]) if layout.levels else float(code)
            middle = 0.0 if layout.levels else 2.0 ** (layout.bits - 1)
            zero = float(zeros[scale_row, group]) if zeros is not None else middle
            expected = (level - zero) * float(weight.scale[scale_row, group])
            assert float(values[row, column]) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("weight", [pytest.param(w, id=name) for name, w in layouts()])
def test_gathered_rows_are_the_rows_of_the_whole(weight: PackedWeight) -> None:
    rows = torch.tensor([8, 0, 3, 3])
    assert torch.equal(weight.dequantize(rows), weight.dequantize()[rows])


def test_a_packed_linear_layer_computes_with_the_decoded_weight() -> None:
    weight = dict(layouts())["4-group-zero"]
    bias = nn.Parameter(torch.randn(9))
    values = torch.randn(2, 6, 13)
    expected = values @ weight.dequantize().T + bias
    assert torch.allclose(PackedLinear(weight, bias)(values), expected, atol=1e-5)
    assert PackedLinear(weight, bias).bfloat16()(values.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(2, 2), (5, 7)])  # fewer ids than rows, and more: both ways of looking up
def test_a_packed_embedding_looks_rows_up(shape: tuple[int, int]) -> None:
    weight = dict(layouts())["3-channel-"]
    ids = torch.randint(0, 9, shape)
    assert torch.equal(PackedEmbedding(weight)(ids), weight.dequantize()[ids])


def test_a_weight_counts_at_its_logical_size() -> None:
    codes = torch.full((4, 10), 8, dtype=torch.uint8)
    codes[0, :3] = 1
    weight = PackedWeight.from_codes(codes, torch.ones(4, 1), bits=4, group_size=10)
    [logical] = weight.logical_weights()
    assert (logical.count, logical.nonzero, logical.dtype) == (40, 3, "uint4")


def test_layers_with_one_weight_share_the_packed_one() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(6, 8), "head": nn.Linear(8, 6, bias=False)})
    model["head"].weight = model["table"].weight
    calls = []

    def quantize(name: str, weight: Tensor) -> PackedWeight:
        calls.append(name)
        return PackedWeight.from_codes(random_codes(4, 6, 8), torch.ones(6, 1), bits=4, group_size=8)

    structure = pack_layers(model, [name for name, _ in packable(model)], quantize)
    assert calls == ["table"]
    assert structure["shared"] == {"head": "table"}
    assert model["head"].packed is model["table"].packed


def test_subclasses_are_not_replaced() -> None:
    class Doubling(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = nn.ModuleDict({"plain": nn.Linear(2, 2), "odd": Doubling(2, 2), "capped": nn.Embedding(2, 2, max_norm=1.0)})
    assert [name for name, _ in packable(model)] == ["plain"]


@pytest.mark.parametrize("columns", [24, 20])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_means_zero_may_lie_between_two_codes(columns: int, dtype: torch.dtype) -> None:
    codes, zero = random_codes(4, 5, columns), torch.linspace(-3.3, 20.7, 15).view(5, 3).to(dtype)
    scale = torch.linspace(0.5, 2, 15).view(5, 3)
    weight = PackedWeight.from_codes(codes, scale, bits=4, group_size=8, zero=zero)
    group = torch.arange(columns) // 8
    expected = (codes.double() - zero.double()[:, group]) * scale.double()[:, group]
    assert torch.allclose(weight.dequantize().double(), expected, rtol=1e-6, atol=1e-6)
    rows = torch.tensor([4, 0])
    assert torch.equal(weight.dequantize(rows), weight.dequantize()[rows])
    empty = PackedWeight(weight.layout, 5, columns)  # as a saved one is read
    empty.load_state_dict(weight.state_dict())
    assert torch.equal(empty.dequantize(), weight.dequantize())
