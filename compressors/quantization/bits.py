"""Codes as packed bits: integers of 1 to 8 bits to bytes and back, whatever they stand for."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def _cycle(bits: int) -> tuple[int, int]:
    """(codes, bytes) after which the pattern repeats: 8 codes in 3 bytes for 3 bits, 2 in 1 for 4."""
    if not 1 <= bits <= 8:
        raise ValueError(f"bits = {bits}: must be 1 to 8")
    codes = 8 // math.gcd(bits, 8)
    return codes, codes * bits // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack along the last axis, the first code in the lowest bits: (…, n) uint8 with values below
    2**bits -> (…, ceil(n * bits / 8)) uint8. Every row starts on a byte, so that rows can be gathered.

    Raises ValueError where a code needs more bits."""
    cycle, span = _cycle(bits)
    if codes.numel() and int(codes.max()) >> bits:
        raise ValueError(f"code {int(codes.max())} does not fit in {bits} bits")
    count = codes.shape[-1]
    cells = F.pad(codes, (0, -count % cycle)).unflatten(-1, (-1, cycle))
    packed = torch.zeros(*cells.shape[:-1], span, dtype=torch.uint8, device=codes.device)
    for i in range(cycle):
        byte, shift = divmod(i * bits, 8)
        packed[..., byte] |= cells[..., i] << shift  # what overflows a byte is cut off by uint8
        if shift + bits > 8:
            packed[..., byte + 1] |= cells[..., i] >> (8 - shift)
    return packed.flatten(-2)[..., : -(-count * bits // 8)].contiguous()


_SPREAD = {4: torch.int16, 2: torch.int32, 1: torch.int64}
"""Bits of a code -> the type whose bytes are as many as the codes in a byte, the lowest of them first."""


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes of each row that `pack` made: (…, bytes) uint8 -> (…, count) uint8."""
    cycle, span = _cycle(bits)
    if bits == 8:
        return packed[..., :count]
    if bits in _SPREAD:  # a wider number for each byte, whose bytes are the codes of that one: five times as fast
        wide = packed.to(_SPREAD[bits], memory_format=torch.contiguous_format)
        codes = wide.clone()
        for i in range(1, cycle):
            codes |= wide << i * (8 - bits)
        codes &= sum((2**bits - 1) << 8 * i for i in range(cycle))
        return codes.view(torch.uint8)[..., :count]
    cells = F.pad(packed, (0, -packed.shape[-1] % span)).unflatten(-1, (-1, span))
    codes = torch.empty(*cells.shape[:-1], cycle, dtype=torch.uint8, device=packed.device)
    for i in range(cycle):
        byte, shift = divmod(i * bits, 8)
        code = cells[..., byte] >> shift
        if shift + bits > 8:
            code |= cells[..., byte + 1] << (8 - shift)
        torch.bitwise_and(code, 2**bits - 1, out=codes[..., i])
    return codes.flatten(-2)[..., :count]
