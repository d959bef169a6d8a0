"""The readers of the peers' formats, against files that are written here in plain numpy by each format's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from compressors.interface import PressbenchError
from compressors.peers import formats
from compressors.peers.handover import Files
from compressors.quantization.packed import PackedWeight

ROWS, COLUMNS, SIZE = 32, 64, 16
GROUPS = COLUMNS // SIZE
RNG = np.random.default_rng(5)


def drawn(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (rows, columns), scales and zeros (rows, groups): every one another."""
    codes = RNG.integers(0, 2**bits, (ROWS, COLUMNS)).astype(np.uint32)
    scales = RNG.uniform(0.01, 3.0, (ROWS, GROUPS)).astype(np.float16)
    return codes, scales, RNG.integers(1, 2**bits, (ROWS, GROUPS)).astype(np.uint32)


def decoded(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray | float) -> np.ndarray:
    spread = np.repeat(scales.astype(np.float64), SIZE, axis=1)
    return (codes - (np.repeat(zeros, SIZE, axis=1) if isinstance(zeros, np.ndarray) else zeros).astype(float)) * spread


def words(codes: np.ndarray, bits: int) -> np.ndarray:
    """(rows, n) -> (rows, n * bits / 32) int32, the first code in the low bits, 32 of them as one long number."""
    out = [
        sum(int(code) << (bits * at) for at, code in enumerate(block)).to_bytes(4 * bits, "little")
        for row in codes
        for block in row.reshape(-1, 32)
    ]
    return np.frombuffer(b"".join(out), np.int32).reshape(len(codes), -1)


def files(tmp_path: Path, **tensors: np.ndarray) -> Files:
    path = tmp_path / "model.safetensors"
    save_file({f"layer.{n}": np.ascontiguousarray(v) for n, v in tensors.items()}, path)
    return Files("peer", path)


def same(found: PackedWeight, expected: np.ndarray) -> None:
    assert np.allclose(found.dequantize().double().numpy(), expected, rtol=1e-6, atol=1e-6)


def gptq_file(tmp_path: Path, bits: int, less: int, order: np.ndarray | None = None) -> tuple[Files, np.ndarray]:
    codes, scales, zeros = drawn(bits)
    groups = np.arange(COLUMNS) // SIZE if order is None else order
    made = files(
        tmp_path,
        qweight=words(codes, bits).T,
        qzeros=words(zeros.T - less, bits),
        scales=scales.T,
        g_idx=groups.astype(np.int32),
    )
    wide = (codes - zeros[:, groups].astype(float)) * scales[:, groups].astype(np.float64)
    return made, wide


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("v1", [True, False])
def test_gptq(tmp_path: Path, bits: int, v1: bool) -> None:
    made, expected = gptq_file(tmp_path, bits, less=int(v1))
    same(formats.gptq(made, "layer", ROWS, COLUMNS, bits=bits, v1=v1), expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_symmetric_gptq_stores_no_zeros(tmp_path: Path, bits: int) -> None:
    """Its scales may be below zero: AutoRound gives the larger end of a group the code that is one further out."""
    codes, scales, _ = drawn(bits)
    scales[::2] *= -1
    middle = np.full((ROWS, GROUPS), 2 ** (bits - 1))
    made = files(tmp_path, qweight=words(codes, bits).T, qzeros=words(middle.T - 1, bits), scales=scales.T)
    found = formats.gptq(made, "layer", ROWS, COLUMNS, bits=bits, v1=True)
    same(found, decoded(codes, scales, middle))
    assert not found.layout.zero_points


def test_gptq_in_groups_by_activation_is_refused(tmp_path: Path) -> None:
    made, _ = gptq_file(tmp_path, 4, 1, RNG.permutation(np.arange(COLUMNS) // SIZE))
    with pytest.raises(PressbenchError, match=r"layer: its columns are in groups by activation \(g_idx\)"):
        formats.gptq(made, "layer", ROWS, COLUMNS, bits=4, v1=True)


@pytest.mark.parametrize("nested", [False, True])
def test_nf4(tmp_path: Path, nested: bool) -> None:
    codes = RNG.integers(0, 16, ROWS * COLUMNS).astype(np.uint8)
    levels = np.sort(RNG.uniform(-1, 1, 16)).astype(np.float32)
    absmax = RNG.uniform(0.1, 2, ROWS * GROUPS).astype(np.float32)
    state: dict = {"quant_type": "nf4", "blocksize": SIZE, "dtype": "float32", "shape": [ROWS, COLUMNS]}
    more = {"weight.absmax": absmax}
    if nested:
        coarse, table = RNG.integers(0, 256, absmax.size).astype(np.uint8), RNG.uniform(-1, 1, 256).astype(np.float32)
        over = RNG.uniform(0.5, 1, absmax.size // 32).astype(np.float32)
        state |= {"nested_blocksize": 32, "nested_offset": 0.7, "nested_dtype": "float32"}
        more = {"weight.absmax": coarse, "weight.nested_absmax": over, "weight.nested_quant_map": table}
        absmax = table[coarse].astype(np.float64) * np.repeat(over, 32) + 0.7
    told = np.frombuffer(json.dumps(state).encode(), np.uint8)
    made = files(
        tmp_path,
        weight=((codes[0::2] << 4) | codes[1::2])[:, None],
        **{"weight.quant_map": levels, "weight.quant_state.bitsandbytes__nf4": told, **more},
    )
    expected = (levels[codes].astype(np.float64) * np.repeat(absmax, SIZE)).reshape(ROWS, COLUMNS)
    same(formats.nf4(made, "layer", ROWS, COLUMNS), expected)


def test_nf4_in_blocks_that_cross_rows_is_refused(tmp_path: Path) -> None:
    told = np.frombuffer(json.dumps({"blocksize": 48}).encode(), np.uint8)
    more = {"weight.quant_state.bitsandbytes__nf4": told, "weight.absmax": np.ones(4, np.float32)}
    with pytest.raises(PressbenchError, match="layer: is in blocks of 48 that cross the rows of 64"):
        formats.nf4(files(tmp_path, **more), "layer", ROWS, COLUMNS)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_hqq(tmp_path: Path, bits: int) -> None:
    codes, scales, _ = drawn(bits)
    zeros = RNG.uniform(0, 2**bits, (ROWS, GROUPS)).astype(np.float16)
    grouped = codes.reshape(-1, SIZE)
    count, kind = (10, np.uint32) if bits == 3 else (8 // bits, np.uint8)
    each = -(-len(grouped) // count)
    grouped = np.concatenate([grouped, np.zeros((each * count - len(grouped), SIZE), np.uint32)])
    packed = np.zeros((each, SIZE), kind)
    for part in range(count):
        packed |= (grouped[part * each : (part + 1) * each] << (bits * (count - 1 - part))).astype(kind)
    number = {n: np.array(v, np.int32) for n, v in {"nbits": bits, "group_size": SIZE, "axis": 1}.items()}
    stored = packed.view(np.int32) if bits == 3 else packed
    made = files(tmp_path, W_q=stored, scale=scales.reshape(-1, 1), zero=zeros.reshape(-1, 1), **number)
    same(formats.hqq(made, "layer", ROWS, COLUMNS), decoded(codes, scales, zeros))


@pytest.mark.parametrize("bits", [2, 4])
def test_quanto(tmp_path: Path, bits: int) -> None:
    codes, scales, _ = drawn(bits)
    shifts = RNG.uniform(-2, 2, (ROWS, GROUPS)).astype(np.float32)
    grouped, count = codes.reshape(-1, SIZE), 8 // bits
    each = len(grouped) // count
    packed = np.zeros((each, SIZE), np.uint8)
    for part in range(count):
        packed |= (grouped[part * each : (part + 1) * each] << (bits * part)).astype(np.uint8)
    scales = scales.astype(np.float32)
    scales[3, 1] = scales[7] = 0  # what quanto makes of a group whose weights are all the same
    made = files(
        tmp_path,
        **{
            "weight._data._data": packed,
            "weight._scale": scales.reshape(-1, 1),
            "weight._shift": shifts.reshape(-1, 1),
        },
    )
    expected = codes * np.repeat(scales.astype(np.float64), SIZE, axis=1) - np.repeat(shifts, SIZE, axis=1)
    same(formats.quanto(made, "layer", ROWS, COLUMNS, bits=bits), expected)


def test_quanto_of_8_bits(tmp_path: Path) -> None:
    codes = RNG.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scales = RNG.uniform(0.01, 3.0, (ROWS, 1)).astype(np.float32)
    made = files(tmp_path, **{"weight._data": codes, "weight._scale": scales})
    same(formats.quanto(made, "layer", ROWS, COLUMNS, bits=8), codes.astype(np.float64) * scales)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_torchao(tmp_path: Path, bits: int, symmetric: bool) -> None:
    half = 2 ** (bits - 1)
    codes = RNG.integers(-half, half, (ROWS, COLUMNS)).astype(np.int8)
    scales = RNG.uniform(0.01, 3.0, (ROWS, GROUPS)).astype(np.float32)
    zeros = RNG.integers(-half, half, (ROWS, GROUPS)).astype(np.int8) * np.int8(not symmetric)
    made = files(tmp_path, _weight_qdata=codes, _weight_scale=scales, _weight_zero_point=zeros)
    found = formats.torchao(made, "layer", ROWS, COLUMNS, bits=bits)
    same(found, decoded(codes.astype(np.float64), scales, zeros))
    assert found.layout.zero_points is not symmetric


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors(tmp_path: Path, bits: int, symmetric: bool) -> None:
    codes, scales, zeros = drawn(bits)  # as they are packed: 2**(bits - 1) more than the signed ones
    zero = {} if symmetric else {"weight_zero_point": words(zeros.T, bits).T}
    made = files(
        tmp_path,
        weight_packed=words(codes, bits),
        weight_scale=scales,
        weight_shape=np.array([ROWS, COLUMNS]),
        **zero,
    )
    expected = decoded(codes, scales, np.full((ROWS, GROUPS), 2 ** (bits - 1)) if symmetric else zeros)
    same(formats.compressed_tensors(made, "layer", ROWS, COLUMNS, bits=bits), expected)


def test_compressed_tensors_in_groups_by_activation_are_refused(tmp_path: Path) -> None:
    made = files(tmp_path, weight_scale=np.ones((ROWS, GROUPS), np.float16), weight_g_idx=np.zeros(COLUMNS, np.int32))
    with pytest.raises(PressbenchError, match="layer: its columns are in groups by activation"):
        formats.compressed_tensors(made, "layer", ROWS, COLUMNS, bits=4)


def test_what_is_missing_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PressbenchError, match=r"peer: the peer saved no layer\.scales"):
        formats.gptq(files(tmp_path, qweight=np.zeros((8, ROWS), np.int32)), "layer", ROWS, COLUMNS, bits=4, v1=True)


# -- the check against the peer's own decoding -----------------------------------------------------


def packed_and_values(bits: int) -> tuple[PackedWeight, torch.Tensor]:
    codes, scales, zeros = drawn(bits)
    made = PackedWeight.from_codes(
        torch.tensor(codes.astype(np.uint8)),
        torch.tensor(scales),
        bits=bits,
        group_size=SIZE,
        zero=torch.tensor(zeros.astype(np.uint8)),
    )
    return made, torch.tensor(decoded(codes, scales, zeros))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_rounding_of_fp16_is_no_difference(bits: int) -> None:
    ours, theirs = packed_and_values(bits)
    formats.same_values("peer", "layer", ours, theirs.half())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("fault", ["one step", "not finite", "shape", "half a step everywhere"])
def test_one_code_that_is_read_wrong_is_a_difference(bits: int, fault: str) -> None:
    ours, theirs = packed_and_values(bits)
    step = float(ours.scale[7, 3])
    message = "peer: layer: read from the peer's files, 1 of 2048 weights are not what the peer itself decodes"
    if fault == "one step":
        theirs[7, COLUMNS - 1] += step
    elif fault == "not finite":
        theirs[7, 0] = float("nan")
    elif fault == "shape":
        theirs, message = theirs.T, r"the peer's own decoding has the shape \(64, 32\) where it is \(32, 64\)"
    else:
        theirs += 0.5 * ours.scale.double().repeat_interleave(SIZE, dim=1)
        message = "2048 of 2048 weights"
    with pytest.raises(PressbenchError, match=message):
        formats.same_values("peer", "layer", ours, theirs)
