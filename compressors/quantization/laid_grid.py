"""A grid laid over a matrix: what a rounding chooses among, whatever the grid, and what its choice is stored as."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.interface import PressbenchError
from compressors.quantization.packed import PackedWeight, coded_scales


@dataclass
class LaidGrid:
    """The values that each weight of a (rows, columns) matrix may take: (levels[code] - zero) * scale.

    group_size: columns that share a scale; the last group may be narrower. scale: (rows or 1, groups) positive, in the
    type that it is stored in; float32 with coded_scales, which stores codes of 8 bits for what it is given. zero: as
    scale, uint8, or real numbers in the type that they are stored in; None for 2**(bits-1), or for none where there are
    levels. levels: (2**bits,) or (rows, 2**bits) ascending, the value of each code; None where codes stand for
    themselves.
    """

    bits: int
    group_size: int
    scale: Tensor
    zero: Tensor | None = None
    levels: Tensor | None = None
    coded_scales: bool = False

    def nearest(self, values: Tensor, columns: Tensor) -> Tensor:
        """The codes of the points nearest to `values`, (rows, n), that stand in these `columns`, (n,) int64: uint8."""
        return self._codes(values, *self._of(columns), self._middles()).to(torch.uint8)

    def decode(self, codes: Tensor, columns: Tensor) -> Tensor:
        """The values of `codes`, (rows, n), in these `columns`, (n,) int64: float32."""
        return self._values(codes, *self._of(columns))

    def rounded(self, values: Tensor, columns: Tensor) -> Tensor:
        """The points nearest to `values`, (rows, n), in these `columns`: what `decode` makes of `nearest`, float32."""
        own = self._of(columns)
        return self._values(self._codes(values, *own, self._middles()), *own)

    def rounded_groups(self, groups: Tensor) -> Tensor:
        """`rounded` of all columns, (rows, groups, group_size), where no row has levels of its own."""
        zero = 2 ** (self.bits - 1) if self.zero is None else self.zero.float()[:, :, None]
        own = self.scale.float()[:, :, None], zero
        return self._values(self._codes(groups, *own, self._middles()), *own)

    def by_column(self, columns: Tensor) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """For those who go through these `columns`, (n,) int64, one at a time: called with the values of a column,
        (rows,), and its place among them, it tells the codes and the values of the nearest points, (rows,) each."""
        scales, zeros = self._of(columns)
        scales, middles = scales.T.contiguous()[:, :, None], self._middles()  # a column is a row of memory
        if isinstance(zeros, Tensor):
            zeros = zeros.T.contiguous()[:, :, None]

        def rounded(values: Tensor, place: int) -> tuple[Tensor, Tensor]:
            own = scales[place], zeros[place] if isinstance(zeros, Tensor) else zeros
            codes = self._codes(values[:, None], *own, middles)
            return codes[:, 0], self._values(codes, *own)[:, 0]

        return rounded

    def _of(self, columns: Tensor) -> tuple[Tensor, Tensor | int]:
        groups = columns // self.group_size

        def own(values: Tensor) -> Tensor:  # a gather takes a fifth of what an index by columns does
            return values.float().gather(1, groups.expand(len(values), -1))

        return own(self.scale), 2 ** (self.bits - 1) if self.zero is None else own(self.zero)

    def _middles(self) -> Tensor | None:
        """Between one level and the next."""
        return None if self.levels is None else (self.levels.float()[..., 1:] + self.levels.float()[..., :-1]) / 2

    def _codes(self, values: Tensor, scale: Tensor, zero: Tensor | int, middles: Tensor | None) -> Tensor:
        """values: (rows, n). scale, zero: theirs, (rows or 1, n). Whole numbers, float32 or int64."""
        scaled = values / scale
        if middles is not None:
            return torch.searchsorted(middles, scaled.contiguous())
        if self.zero is not None and self.zero.is_floating_point():
            part = zero % 1  # of what lies between two codes
            return scaled.add_(part).round_().add_(zero - part).clamp_(0, 2**self.bits - 1)
        return scaled.round_().add_(zero).clamp_(0, 2**self.bits - 1)

    def _values(self, codes: Tensor, scale: Tensor, zero: Tensor | int) -> Tensor:
        if self.levels is None:
            return (codes - zero if codes.is_floating_point() else codes.float() - zero).mul_(scale)
        levels = self.levels.float()
        return (levels[codes.int()] if levels.dim() == 1 else levels.gather(1, codes.long())) * scale

    def put(self, group: int, other: LaidGrid) -> None:
        """Take scale and zero of one group from a grid that was laid over its columns alone."""
        if other.scale.dtype != self.scale.dtype:  # one of them needed the wider type
            self.scale = self.scale.float()
        self.scale[:, group] = other.scale[:, 0].to(self.scale.dtype)
        if self.zero is not None and other.zero is not None:
            if other.zero.dtype != self.zero.dtype:
                self.zero = self.zero.float()
            self.zero[:, group] = other.zero[:, 0].to(self.zero.dtype)

    def of_rows(self, rows: slice) -> LaidGrid:
        """The part of it that lies over these rows."""
        scale = self.scale if self.scale.shape[0] == 1 else self.scale[rows]
        zero = self.zero if self.zero is None or self.zero.shape[0] == 1 else self.zero[rows]
        levels = self.levels if self.levels is None or self.levels.dim() == 1 else self.levels[rows]
        return LaidGrid(self.bits, self.group_size, scale, zero, levels, self.coded_scales)

    def packed(self, codes: Tensor, column_scale: Tensor | None = None) -> PackedWeight:
        """These codes, (rows, columns) uint8, with this grid, as they are stored."""
        scale, scale_range = coded_scales(self.scale) if self.coded_scales else (self.scale, None)
        return PackedWeight.from_codes(
            codes, scale, bits=self.bits, group_size=self.group_size, zero=self.zero, levels=self.levels,
            column_scale=column_scale, scale_range=scale_range,
        )  # fmt: skip

    def packed_apart(
        self, codes: Tensor, heights: Sequence[int], column_scale: Tensor | None = None
    ) -> list[PackedWeight]:
        """The same for each of the layers, of so many rows, that were stacked on each other."""
        ends = itertools.accumulate(heights)
        parts = [slice(end - height, end) for end, height in zip(ends, heights, strict=True)]
        return [self.of_rows(part).packed(codes[part], column_scale) for part in parts]


class Grid(abc.ABC):
    """A kind of grid with its bits and what shares a scale: where its points lie for some weights."""

    bits: int
    group_size: int
    by_group: ClassVar[bool] = True
    """Whether a group's points depend on its own weights alone, so that they can be laid anew for one."""

    @abc.abstractmethod
    def lay(self, weight: Tensor, importance: Tensor | None = None) -> LaidGrid:
        """Choose the points for `weight`, (rows, columns) float32. importance: what a squared error counts in each
        column, (columns,) or (rows, columns); None for the same in all. Raises PressbenchError for NaN or infinity."""

    @abc.abstractmethod
    def holds(self, weight: Tensor) -> bool:
        """Whether all of `weight`, (rows, columns), lies on some such grid already, to fp32 rounding."""


def nearest(grid: Grid, weight: Tensor, importance: Tensor | None = None) -> PackedWeight:
    """Every weight of `weight`, (rows, columns), at the nearest point of `grid`. importance: as `Grid.lay` takes it.
    Raises PressbenchError for NaN or infinity."""
    weight = finite(weight)
    laid = grid.lay(weight, importance)
    return laid.packed(laid.nearest(weight, torch.arange(weight.shape[1])))


def finite(weight: Tensor) -> Tensor:
    """The weight in float32. Raises PressbenchError for NaN or infinity."""
    check_finite(weight)
    return weight.float()


def check_finite(*values: Tensor) -> None:
    """Raises PressbenchError where NaN or infinity is among weights, or what was found of them."""
    if not all(bool(one.isfinite().all()) for one in values):
        raise PressbenchError("a weight is not finite: the model was broken before it was quantized")


def grouped(weight: Tensor, group_size: int, fill: float = 0.0) -> Tensor:
    """(rows, columns) -> (rows, groups, group_size), the last group filled up."""
    extra = -weight.shape[1] % group_size
    whole = F.pad(weight, (0, extra), value=fill) if extra else weight  # by nothing it would be a copy
    return whole.unflatten(1, (-1, group_size))
