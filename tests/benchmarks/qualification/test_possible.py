"""More operations a second than a machine has are refused, and no honest kernel is."""

from __future__ import annotations

from benchmarks.qualification.possible import MARGIN, UNSURE, Ceiling, ceiling_of, impossible
from benchmarks.qualification.standing import Standing
from compressors.interface import Hardware
from compressors.runtimes.executed import Executed

CPU = Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}), threads=2)
AMX = Hardware("cpu", "cpu-amx", frozenset({"amx", "bf16"}), threads=2)
SEEN = Ceiling(1e11, MARGIN)
WORK = Executed({"float32": 10**9}, 4 * 10**6)


def test_what_the_machine_cannot_do_is_said_with_both_numbers() -> None:
    told = impossible(WORK, 1, 1e-5, SEEN, CPU)  # 1e14 a second where there are 1e11
    assert told is not None
    assert "100,000 billion operations a second" in told and "where 100 are its ceiling" in told


def test_at_the_ceiling_and_somewhat_above_it_is_possible() -> None:
    assert impossible(WORK, 1, 0.01, SEEN, CPU) is None
    assert impossible(WORK, 1, 0.006, SEEN, CPU) is None
    assert impossible(WORK, 1, 0.003, SEEN, CPU) is not None


def test_fewer_bits_may_be_faster() -> None:
    narrow = Executed({"int8": 10**9}, 10**6)
    assert impossible(narrow, 1, 0.001, SEEN, CPU) is None
    assert impossible(narrow, 1, 0.0002, SEEN, AMX) is None and impossible(narrow, 1, 0.0002, SEEN, CPU) is not None


def test_fp8_is_as_fast_as_int8_on_a_gpu() -> None:
    gpu = Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0")
    for seconds, possible in ((1.5e-4, True), (5e-5, False)):  # 1e9 at 32 times 1e11 a second take 3e-4
        told = {name: impossible(Executed({name: 10**9}, 10**6), 1, seconds, SEEN, gpu) for name in ("int8", "float8")}
        assert (told["float8"] is None, told["int8"] is None) == (possible, possible)


def test_every_token_is_a_pass() -> None:
    assert impossible(WORK, 1, 0.006, SEEN, CPU) is None and impossible(WORK, 16, 0.006, SEEN, CPU) is not None


def test_the_ceiling_is_the_most_that_was_seen() -> None:
    assert ceiling_of(Standing(), ()) is None
    assert ceiling_of(Standing(), [{"matmul_gflop_s": 80.0}, {"matmul_gflop_s": 90.0}]) == Ceiling(9e10, UNSURE)
    assert ceiling_of(Standing(fp32_gflop_s=120.0), [{"matmul_gflop_s": 90.0}]) == Ceiling(1.2e11, MARGIN)
    assert ceiling_of(Standing(fp32_gflop_s=120.0, quick=True), ()) == Ceiling(1.2e11, UNSURE)
