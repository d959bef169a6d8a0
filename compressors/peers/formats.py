"""Readers of what the peers save, each a file format that others read as well: codes, scales and zeros of one layer to
a `PackedWeight`, by the format's published layout. Whether it is read right is not believed: `same_values` holds the
result against what the peer itself decodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from compressors.interface import PressbenchError
from compressors.peers.handover import Files
from compressors.quantization.packed import PackedWeight

ROUNDING = 2**-10
"""How far two decodings of one code may lie apart, as a share of what its grid spans: some peers decode in fp16."""


def same_values(peer: str, layer: str, ours: PackedWeight, theirs: Tensor) -> None:
    """Raises PressbenchError where what we decode is not what the peer decodes, (rows, columns), but for rounding."""
    if theirs.shape != (ours.rows, ours.columns):
        shape = f"{tuple(theirs.shape)} where it is {(ours.rows, ours.columns)}"
        raise PressbenchError(f"{peer}: {layer}: the peer's own decoding has the shape {shape}")
    spans = 2.0 if ours.layout.levels else 2.0**ours.layout.bits
    scale = ours.scale.float().abs().repeat_interleave(ours.layout.group_size, dim=1)[:, : ours.columns]
    apart = (ours.dequantize() - theirs.float()).abs()
    wrong = int((~(apart <= ROUNDING * spans * scale)).sum())  # what is not finite is wrong as well
    if wrong:
        raise PressbenchError(
            f"{peer}: {layer}: read from the peer's files, {wrong} of {theirs.numel()} weights are not what the peer "
            "itself decodes"
        )


def nf4(files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
    """bitsandbytes: two codes a byte, the first in the high bits, along the flattened weight; a scale (`absmax`) for
    each block of it, quantized itself where the state says so; the values of the 16 codes in `quant_map`."""
    name = f"{layer}.weight"
    state = json.loads(bytes(files[f"{name}.quant_state.bitsandbytes__nf4"].tolist()))
    block, absmax = int(state["blocksize"]), files[f"{name}.absmax"]
    if "nested_blocksize" in state:
        inner = files[f"{name}.nested_quant_map"][absmax.long()]
        spread = files[f"{name}.nested_absmax"].repeat_interleave(int(state["nested_blocksize"]))[: len(inner)]
        absmax = inner * spread + float(state["nested_offset"])
    if columns % block:
        raise PressbenchError(f"{layer}: is in blocks of {block} that cross the rows of {columns}")
    codes = _halves(files[name].flatten()).view(rows, columns)
    levels = files[f"{name}.quant_map"]
    return PackedWeight.from_codes(codes, absmax.float().view(rows, -1), bits=4, group_size=block, levels=levels)


def _halves(packed: Tensor) -> Tensor:
    """(n,) bytes -> (2n,) codes of 4 bits, the high bits first."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()


def hqq(files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
    """hqq, groups along the columns: the weight as (groups of all rows, group size); as many of these rows as there are
    codes in a word, one from each equal part, the first in the high bits. Zeros lie between codes."""
    bits, size = int(files[f"{layer}.nbits"]), int(files[f"{layer}.group_size"])
    if int(files[f"{layer}.axis"]) != 1 or columns % size:
        raise PressbenchError(f"{layer}: is in groups of {size} that do not lie along its {columns} columns")
    words = files[f"{layer}.W_q"]
    count = 10 if bits == 3 else 8 // bits
    parts = [(words >> (bits * (count - 1 - at))) & (2**bits - 1) for at in range(count)]
    codes = torch.cat(parts)[: rows * columns // size].to(torch.uint8).reshape(rows, columns)
    scale, zero = (files[f"{layer}.{name}"].view(rows, -1) for name in ("scale", "zero"))
    return PackedWeight.from_codes(codes, scale, bits=bits, group_size=size, zero=zero)


def compressed_tensors(files: Files, layer: str, rows: int, columns: int, *, bits: int) -> PackedWeight:
    """compressed-tensors, `pack-quantized`: signed codes plus 2**(bits-1) along the columns in int32, the first in the
    low bits, each row filled up; zero points likewise, along the rows."""
    scale = files[f"{layer}.weight_scale"]
    if f"{layer}.weight_g_idx" in files:
        raise PressbenchError(f"{layer}: its columns are in groups by activation, not as they lie")
    if tuple(files[f"{layer}.weight_shape"].tolist()) != (rows, columns) or scale.shape[0] != rows:
        raise PressbenchError(f"{layer}: is saved in another shape than {(rows, columns)}")
    zero = None
    if f"{layer}.weight_zero_point" in files:
        zero = _words(files[f"{layer}.weight_zero_point"].T, bits, rows).T
    codes = _words(files[f"{layer}.weight_packed"], bits, columns)
    return PackedWeight.from_codes(codes, scale, bits=bits, group_size=columns // scale.shape[1], zero=zero)


def gptq(files: Files, layer: str, rows: int, columns: int, *, bits: int, v1: bool) -> PackedWeight:
    """GPTQ: the transposed weight, codes along the columns (`qweight`) and zeros along the rows (`qzeros`) in int32,
    the first in the low bits; the group of each column in `g_idx`. v1: zeros are stored less one."""
    scale = files[f"{layer}.scales"]  # (groups, rows)
    groups = scale.shape[0]
    size = -(-columns // groups)
    if f"{layer}.g_idx" in files and not torch.equal(files[f"{layer}.g_idx"].long(), torch.arange(columns) // size):
        raise PressbenchError(f"{layer}: its columns are in groups by activation (g_idx), not as they lie")
    if scale.shape[1] != rows:
        raise PressbenchError(f"{layer}: has scales for {scale.shape[1]} rows where there are {rows}")
    codes = _words(files[f"{layer}.qweight"].T, bits, columns)
    zero = _words(files[f"{layer}.qzeros"], bits, rows).T  # (rows, groups)
    if v1:
        zero = (zero.int() + 1).to(torch.uint8) & (2**bits - 1)
    return PackedWeight.from_codes(codes, scale.T.contiguous(), bits=bits, group_size=size, zero=zero.contiguous())


def _words(packed: Tensor, bits: int, count: int) -> Tensor:
    """(n, words) int32 -> (n, count) codes, the first of a word in the low bits."""
    parts = [(packed >> (bits * at)) & (2**bits - 1) for at in range(32 // bits)]
    return torch.stack(parts, dim=-1).flatten(1)[:, :count].to(torch.uint8)


Reader = Callable[[Files, str, int, int], PackedWeight]
"""Called with (the peer's files, a layer, its rows, its columns)."""
