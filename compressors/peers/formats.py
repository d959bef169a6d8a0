"""Readers of what the peers save, each a file format that others read as well: codes, scales and zeros of one layer to
a `PackedWeight`, by the format's published layout. Whether it is read right is not believed: `same_values` holds the
result against what the peer itself decodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from torch import Tensor

from compressors.interface import PressbenchError
from compressors.peers.handover import Files
from compressors.quantization.bits import unpack
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
    codes = _parts(words, bits, range(count - 1, -1, -1))[: rows * columns // size].reshape(rows, columns)
    scale, zero = (files[f"{layer}.{name}"].view(rows, -1) for name in ("scale", "zero"))
    return PackedWeight.from_codes(codes, scale, bits=bits, group_size=size, zero=zero)


def quanto(files: Files, layer: str, rows: int, columns: int, *, bits: int) -> PackedWeight:
    """optimum-quanto. 8 bits: signed codes, a scale for each row. Fewer: the weight as (groups of all rows, group
    size); as many of these rows as there are codes in a byte, one from each equal part, the first in the low bits;
    value = code * scale - shift."""
    scale = files[f"{layer}.weight._scale"].view(rows, -1)
    if bits == 8:
        codes = _unsigned(files[f"{layer}.weight._data"], bits)
        return PackedWeight.from_codes(codes, scale, bits=bits, group_size=columns)
    codes = _parts(files[f"{layer}.weight._data._data"], bits, range(8 // bits))[: scale.numel()]
    shift = files[f"{layer}.weight._shift"].view(rows, -1)
    one = scale == 0  # all weights of the group are one value, and its codes are nothing
    scale = scale.where(~one, torch.ones_like(scale))
    codes = codes.where(~one.view(-1, 1), torch.zeros_like(codes)).view(rows, columns)
    return PackedWeight.from_codes(codes, scale, bits=bits, group_size=columns // scale.shape[1], zero=shift / scale)


def torchao(files: Files, layer: str, rows: int, columns: int, *, bits: int) -> PackedWeight:
    """torchao, flattened for safetensors: (rows, columns) of signed codes, a byte each; (rows, groups) of scales and
    of zero points, signed as well; all 0 where it is symmetric."""
    codes, scale, zero = (files[f"{layer}._weight_{name}"] for name in ("qdata", "scale", "zero_point"))
    size = columns // scale.shape[1]
    unsigned = _unsigned(zero, bits) if zero.any() else None
    return PackedWeight.from_codes(_unsigned(codes, bits), scale, bits=bits, group_size=size, zero=unsigned)


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
    the first in the low bits; the group of each column in `g_idx`. v1: zeros are stored less one. Where all are in the
    middle of the codes, none is kept."""
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
    kept = zero.contiguous() if (zero != 2 ** (bits - 1)).any() else None
    return PackedWeight.from_codes(codes, scale.T.contiguous(), bits=bits, group_size=size, zero=kept)


def _words(packed: Tensor, bits: int, count: int) -> Tensor:
    """(n, words) int32 -> (n, count) codes, the first in the low bits, one after the other also from word to word."""
    return unpack(packed.contiguous().view(torch.uint8), bits, count)


def _parts(packed: Tensor, bits: int, places: Iterable[int]) -> Tensor:
    """(n, width) words -> (codes in a word * n, width) codes, from one place in all words after the other."""
    return torch.cat([(packed >> (bits * at)) & (2**bits - 1) for at in places]).to(torch.uint8)


def _unsigned(signed: Tensor, bits: int) -> Tensor:
    return (signed.int() + 2 ** (bits - 1)).to(torch.uint8)
