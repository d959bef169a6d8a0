"""A tensor with many zeros as where its values are, and the values: exact, and in as few bits as the pattern takes.

Where the zeros lie at random, a bit a weight says where. Where they follow a pattern less does: N of M neighbours are
one of C(M, N) cases, 3 bits for 2 of 4 weights and 7 for 4 of 8; of a block of zeros one bit is enough.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

N_OF_M = ((1, 2), (1, 4), (2, 4), (3, 4), (2, 8), (4, 8), (6, 8))
"""Zeros of neighbours that are looked for, along the last axis."""


@dataclass(frozen=True)
class Layout:
    """Where the values of a tensor of that shape are. groups: (zeros, of neighbours) where there are at least so many.
    blocks: (rows, columns) in which all or nothing is zero, (1, 1) where each weight is by itself."""

    shape: tuple[int, ...]
    groups: tuple[int, int] | None = None
    blocks: tuple[int, int] = (1, 1)

    def as_json(self) -> Any:
        """What `from_json` reads; a list alone is the shape of weights by themselves."""
        if self.groups:
            return {"shape": list(self.shape), "groups": list(self.groups)}
        if self.blocks != (1, 1):
            return {"shape": list(self.shape), "blocks": list(self.blocks)}
        return list(self.shape)

    @classmethod
    def from_json(cls, stored: Any) -> Layout:
        """Raises ValueError for what no layout is stored as."""
        if isinstance(stored, list):
            return cls(tuple(stored))
        if not isinstance(stored, Mapping) or not {"shape"} < set(stored) <= {"shape", "groups", "blocks"}:
            raise ValueError(f"no layout of a sparse tensor: {stored!r}")
        groups = stored.get("groups")
        blocks = stored.get("blocks", (1, 1))
        return cls(tuple(stored["shape"]), (groups[0], groups[1]) if groups else None, (blocks[0], blocks[1]))


def encode(tensor: Tensor) -> tuple[Layout, Tensor, Tensor]:
    """How the zeros lie, where they are (uint8), and the values, in order. Of a group that has more zeros than the
    others some are among the values."""
    mask = (tensor != 0).numpy()
    layout = _layout(mask, 8 * tensor.element_size())
    if layout.groups:
        zeros, group = layout.groups
        mask = _filled(mask, zeros, group)
        ranks = _ranks(zeros, group)[_as_numbers(mask.reshape(-1, group))]
        index = _pack(ranks, _width(zeros, group))
    else:
        rows, columns = layout.blocks
        coarse = mask[::rows, ::columns] if mask.ndim == 2 else mask
        index = np.packbits(coarse.reshape(-1), bitorder="little")
    return layout, torch.from_numpy(index), tensor.flatten()[torch.from_numpy(mask.reshape(-1))].contiguous()


def decode(layout: Layout, index: Tensor, values: Tensor) -> Tensor:
    """The dense tensor again. Raises ValueError where its parts do not fit each other."""
    mask = _mask(layout, index.numpy())
    if int(mask.sum()) != len(values):
        raise ValueError(f"mask has {int(mask.sum())} bits set for {len(values)} values")
    dense = torch.zeros(mask.size, dtype=values.dtype)
    dense[torch.from_numpy(mask.reshape(-1))] = values
    return dense.reshape(layout.shape)


def _mask(layout: Layout, index: np.ndarray) -> np.ndarray:
    count = math.prod(layout.shape)
    if layout.groups:
        zeros, group = layout.groups
        cases = _cases(zeros, group)
        ranks = _unpack(index, count // group, _width(zeros, group))
        if ranks.size and int(ranks.max()) >= len(cases):
            raise ValueError(f"a group of {group} has {len(cases)} cases, not one more")
        return cases[ranks].reshape(layout.shape)
    rows, columns = layout.blocks
    if (rows, columns) == (1, 1):
        return np.unpackbits(index, count=count, bitorder="little").astype(bool)
    shape = (layout.shape[0] // rows, layout.shape[1] // columns)
    coarse = np.unpackbits(index, count=shape[0] * shape[1], bitorder="little").astype(bool).reshape(shape)
    return coarse.repeat(rows, 0).repeat(columns, 1)


def _layout(mask: np.ndarray, bits: int) -> Layout:
    """bits: of a value."""
    if mask.ndim != 2:
        return Layout(mask.shape)
    rows, columns = _coarsest(mask, 0), _coarsest(mask, 1)
    if rows * columns > 1:
        return Layout(mask.shape, blocks=(rows, columns))
    best, least = Layout(mask.shape), mask.size + bits * int(mask.sum())
    for zeros, group in N_OF_M:
        if mask.shape[1] % group or int(mask.reshape(-1, group).sum(1).max()) > group - zeros:
            continue
        taken = mask.size // group * (_width(zeros, group) + bits * (group - zeros))
        if taken < least:
            best, least = Layout(mask.shape, groups=(zeros, group)), taken
    return best


def _filled(mask: np.ndarray, zeros: int, group: int) -> np.ndarray:
    """The mask with exactly so many zeros in each group, of more of them the first are taken for values."""
    order = np.argsort(~mask.reshape(-1, group), axis=1, kind="stable")
    found = np.zeros_like(mask.reshape(-1, group))
    np.put_along_axis(found, order[:, : group - zeros], True, axis=1)
    return found.reshape(mask.shape)


def _coarsest(mask: np.ndarray, axis: int) -> int:
    """How many neighbours along an axis are always alike, the most of them."""
    found = 1
    for prime in (2, 3, 5, 7):
        while mask.shape[axis] % prime == 0:
            parts = [mask[i::prime] if axis == 0 else mask[:, i::prime] for i in range(prime)]
            if not all(np.array_equal(parts[0], part) for part in parts[1:]):
                break
            mask, found = parts[0], found * prime
    return found


@functools.cache
def _cases(zeros: int, group: int) -> np.ndarray:
    """Every way to set all but `zeros` of a group: (cases, group) bool, in ascending order of their numbers."""
    numbers = np.arange(2**group, dtype=np.uint8 if group == 8 else np.uint16)
    bits = (numbers[:, None] >> np.arange(group, dtype=numbers.dtype)) & 1
    return bits[bits.sum(1) == group - zeros].astype(bool)


@functools.cache
def _ranks(zeros: int, group: int) -> np.ndarray:
    """Number of a case's bits -> which case it is."""
    cases = _cases(zeros, group)
    found = np.zeros(2**group, dtype=np.uint8)
    found[_as_numbers(cases)] = np.arange(len(cases))
    return found


def _as_numbers(bits: np.ndarray) -> np.ndarray:
    """(n, group) bool -> (n,), the first bit lowest."""
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[1]))


def _width(zeros: int, group: int) -> int:
    """Bits that tell the cases of a group apart."""
    return (math.comb(group, zeros) - 1).bit_length()


def _pack(numbers: np.ndarray, width: int) -> np.ndarray:
    """(n,) uint8 -> bytes that hold `width` bits of each, one after another."""
    bits = np.unpackbits(numbers.astype(np.uint8)[:, None], axis=1, count=width, bitorder="little")
    return np.packbits(bits.reshape(-1), bitorder="little")


def _unpack(index: np.ndarray, count: int, width: int) -> np.ndarray:
    bits = np.unpackbits(index, count=count * width, bitorder="little").reshape(count, width)
    return np.packbits(bits, axis=1, bitorder="little")[:, 0]
