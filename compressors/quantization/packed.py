"""Weights stored as packed bits: what lies under every weight-only quantization method.

Things that other code likes to mix are kept apart: `bits.py` makes bytes of codes and knows nothing of values;
`packed_layers.py` has what a model calls; here is

    PackedWeight       codes to values: (levels[code] - zero) * scale, a scale for each group of columns, over what
                       the column was multiplied by before it was rounded

with how its scales are stored. A method decides codes, scales and perhaps levels, and hands them to
`PackedWeight.from_codes`, or has a `LaidGrid` do it: a codebook, NormalFloat or powers of two give `levels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.quantization.bits import pack, unpack
from compressors.runtimes.torch import LogicalWeight


def storable(scale: Tensor) -> Tensor:
    """Positive scales in the smallest type that holds them: fp16, rounded up so that the largest weight
    stays within half a step of the grid, or fp32 where fp16 would lose digits or overflow.

    fp16 has 11 bits down to 6.1e-5; below, it loses them one by one and ends in zero, which would wipe
    out a group of tiny weights."""
    limits = torch.finfo(torch.float16)
    if bool((scale < limits.smallest_normal).any() or (scale > limits.max).any()):
        return scale.float()
    half = scale.half()
    up = (half.view(torch.int16) + 1).view(torch.float16)  # the next larger one, as the sign is plus
    rounded = torch.where(half.float() < scale, up, half)
    return rounded if bool(rounded.isfinite().all()) else scale.float()


SCALES = 256
"""Scales, one row after the other, that share a step and a least one where they are stored as codes of 8 bits."""


def coded_scales(scale: Tensor) -> tuple[Tensor, Tensor]:
    """Scales, (rows or 1, groups), as codes of 8 bits between the least and the largest of each 256, one row after the
    other, and (least, step) of each: uint8 of that shape, (ceil(scales / 256), 2) float32."""
    blocks = F.pad(scale.float().reshape(1, -1), (0, -scale.numel() % SCALES), mode="replicate").view(-1, SCALES)
    least, most = blocks.aminmax(dim=1, keepdim=True)
    step = (most - least) / 255
    codes = ((blocks - least) / step.where(step > 0, torch.ones(()))).round().to(torch.uint8)
    return codes.flatten()[: scale.numel()].view(scale.shape), torch.cat([least, step], dim=1)


def decoded_scales(codes: Tensor, scale_range: Tensor) -> Tensor:
    """The scales, float32, that `coded_scales` made these codes and ranges of."""
    least, step = scale_range.repeat_interleave(SCALES, dim=0)[: codes.numel()].T
    return (codes.flatten() * step + least).view(codes.shape)


@dataclass(frozen=True)
class Layout:
    """How a matrix is stored, all that is needed to read it back: JSON in an artifact's recipe.

    group_size: columns that share a scale; the last group may be narrower. per_tensor: one row of
    scales for all rows. scale_dtype: of the scales; "uint8" for codes, see `PackedWeight`. zero_points: what means 0 is
    stored for each group, else it is 2**(bits-1). zero_dtype: "uint8" for a code of `bits` bits, else a real number,
    which may lie between two codes or beyond them. levels: codes stand for values of a table, else for themselves;
    levels_by_row: every row has a table of its own. column_scale: a number for each column, which it was multiplied by
    before it was rounded.
    """

    bits: int
    group_size: int
    per_tensor: bool = False
    zero_points: bool = False
    levels: bool = False
    scale_dtype: str = "float16"
    levels_by_row: bool = False
    column_scale: bool = False
    zero_dtype: str = "uint8"


class PackedWeight(nn.Module):
    """A (rows, columns) matrix as packed codes: value = (levels[code] - zero) * scale / column_scale.

    Buffers: codes (rows, ceil(columns * bits / 8)) uint8; scale (rows or 1, groups) float16 or float32, or uint8 codes
    and scale_range (ceil(scales / 256), 2) float32, where scale = range[0] + code * range[1] (double quantization);
    zero, packed like the codes, (rows or 1, ceil(groups * bits / 8)) uint8, or (rows or 1, groups) float16 or float32;
    levels (2**bits,) float32, or (rows, 2**bits) float16; column_scale (columns,) float32. `scales` and `zeros` read
    them whatever they are stored as.
    """

    codes: Tensor
    scale: Tensor
    scale_range: Tensor
    zero: Tensor
    levels: Tensor
    column_scale: Tensor
    tuning: nn.Parameter | None
    """While `compressors.quantization.tuning` trains: what the scales are multiplied by."""

    def __init__(self, layout: Layout, rows: int, columns: int) -> None:
        super().__init__()
        self.layout, self.rows, self.columns = layout, rows, columns
        self.register_parameter("tuning", None)
        self.groups = -(-columns // layout.group_size)
        scales = 1 if layout.per_tensor else rows
        zeros = _bytes(self.groups, layout.bits)
        self.register_buffer("codes", torch.empty(rows, _bytes(columns, layout.bits), dtype=torch.uint8))
        self.register_buffer("scale", torch.empty(scales, self.groups, dtype=getattr(torch, layout.scale_dtype)))
        if layout.scale_dtype == "uint8":
            self.register_buffer("scale_range", torch.empty(-(-scales * self.groups // SCALES), 2))
        if layout.zero_points:
            width = zeros if layout.zero_dtype == "uint8" else self.groups
            self.register_buffer("zero", torch.empty(scales, width, dtype=getattr(torch, layout.zero_dtype)))
        if layout.levels_by_row:
            self.register_buffer("levels", torch.empty(rows, 2**layout.bits, dtype=torch.float16))
        elif layout.levels:
            self.register_buffer("levels", torch.empty(2**layout.bits))
        if layout.column_scale:
            self.register_buffer("column_scale", torch.empty(columns))

    @classmethod
    def from_codes(
        cls,
        codes: Tensor,
        scale: Tensor,
        *,
        bits: int,
        group_size: int,
        zero: Tensor | None = None,
        levels: Tensor | None = None,
        column_scale: Tensor | None = None,
        scale_range: Tensor | None = None,
    ) -> PackedWeight:
        """codes: (rows, columns) uint8. scale: (rows or 1, groups), kept in its dtype, or with `scale_range` what
        `coded_scales` made of it. zero: as scale, uint8, or a real number kept in its dtype, or None. levels:
        (2**bits,) or (rows, 2**bits), the value of each code, or None. column_scale: (columns,) or None."""
        layout = Layout(
            bits,
            group_size,
            per_tensor=scale.shape[0] == 1 and codes.shape[0] > 1,
            zero_points=zero is not None,
            levels=levels is not None,
            scale_dtype=str(scale.dtype).removeprefix("torch."),
            levels_by_row=levels is not None and levels.dim() == 2,
            column_scale=column_scale is not None,
            zero_dtype="uint8" if zero is None else str(zero.dtype).removeprefix("torch."),
        )
        weight = cls(layout, *codes.shape)
        weight.codes, weight.scale = pack(codes, bits), scale.contiguous()
        if scale_range is not None:
            weight.scale_range = scale_range
        if zero is not None:
            weight.zero = pack(zero, bits) if zero.dtype == torch.uint8 else zero.contiguous()
        if levels is not None:
            weight.levels = levels.to(weight.levels.dtype)
        if column_scale is not None:
            weight.column_scale = column_scale.float()
        return weight

    def dequantize(self, rows: Tensor | None = None, *, on_grid: bool = False) -> Tensor:
        """The values, float32: (rows, columns), or of the `rows` asked for, (n,) int64 -> (n, columns). on_grid: as
        they were rounded, not over `column_scale`."""
        layout = self.layout
        packed = self.codes if rows is None else self.codes[rows]
        scale = self._spread(self.scales(rows))
        codes = unpack(packed, layout.bits, self.columns)
        if layout.levels_by_row:
            values = (self.levels if rows is None else self.levels[rows]).float().gather(1, codes.long())
        elif layout.levels:
            values = self.levels.index_select(0, codes.flatten().int()).view(codes.shape).float()
        else:
            values = codes.float()
        values = self._grouped(values)
        zeros = self.zeros(rows)
        if zeros is not None:
            values -= self._spread(zeros)
        elif not layout.levels:
            values -= 2 ** (layout.bits - 1)
        # In place unless the scales are trained, whose gradient needs the values before.
        values = values.mul_(scale) if self.tuning is None else values * scale
        values = values.flatten(1)
        return values / self.column_scale if layout.column_scale and not on_grid else values

    def scales_and_zeros(self, span: int | None = None) -> tuple[Tensor, Tensor]:
        """Scale and zero point, float32, (rows, columns / span) each, of every `span` columns: the value of a code is
        (code - zero) * scale, over `column_scale` where there is one. span: must divide `even_group`, which it is by
        default. Raises ValueError where codes stand for values of a table."""
        span = span or self.even_group
        if self.layout.levels or self.even_group % span:
            raise ValueError(f"no scale for every {span} columns of {self.layout}")
        scale, zero = self.scales(), self.zeros()
        if zero is None:
            zero = torch.full_like(scale, 2 ** (self.layout.bits - 1))
        stored = torch.arange(0, self.columns, span, device=scale.device) // self.layout.group_size
        return scale[:, stored].expand(self.rows, -1), zero[:, stored].expand(self.rows, -1)

    @property
    def even_group(self) -> int:
        """The most columns after which all groups can be said to end, a narrower last one too."""
        return self.columns if self.groups == 1 else math.gcd(self.layout.group_size, self.columns)

    def unpacked(self) -> Tensor:
        """The codes, uint8: (rows, columns)."""
        return unpack(self.codes, self.layout.bits, self.columns)

    def scales(self, rows: Tensor | None = None) -> Tensor:
        """The scales, float32: (rows or 1, groups), or of the `rows` asked for."""
        coded = self.layout.scale_dtype == "uint8"
        scale = (decoded_scales(self.scale, self.scale_range) if coded else self.scale).float()
        if self.tuning is not None:
            scale = scale * self.tuning
        return scale if rows is None or self.layout.per_tensor else scale[rows]

    def rescale(self, scale: Tensor) -> None:
        """Take other scales, (rows or 1, groups) float32, in the type that these have."""
        if self.layout.scale_dtype == "uint8":
            self.scale, self.scale_range = coded_scales(scale)
        else:
            self.scale = scale.to(self.scale.dtype)

    def zeros(self, rows: Tensor | None = None) -> Tensor | None:
        """What means 0, float32: (rows or 1, groups), or of the `rows` asked for; None where it is not stored."""
        layout = self.layout
        if not layout.zero_points:
            return None
        zero = self.zero if rows is None or layout.per_tensor else self.zero[rows]
        return (unpack(zero, layout.bits, self.groups) if layout.zero_dtype == "uint8" else zero).float()

    def _grouped(self, values: Tensor) -> Tensor:
        """(n, columns) seen as (n, groups, group_size), where the groups are all of one width."""
        even = self.columns % self.layout.group_size == 0
        return values.unflatten(1, (self.groups, -1)) if even else values.unsqueeze(1)

    def _spread(self, facts: Tensor) -> Tensor:
        """(n, groups) made to broadcast against what `_grouped` returns."""
        if self.columns % self.layout.group_size == 0:
            return facts.unsqueeze(-1)
        return facts.repeat_interleave(self.layout.group_size, dim=1)[:, None, : self.columns]

    def logical_weights(self) -> list[LogicalWeight]:
        """rows x columns weights of `bits` bits; those count as zero that decode to zero."""
        nonzero = int(self.dequantize().count_nonzero())
        return [LogicalWeight(self.rows * self.columns, nonzero, f"uint{self.layout.bits}")]


def _bytes(count: int, bits: int) -> int:
    return -(-count * bits // 8)
