"""Can the machine have done in that time what a model executes? More operations a second than it has, by a wide margin,
are no speed: what was timed was something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.measure.probes import MATMUL
from benchmarks.qualification.standing import Standing
from compressors.interface import Hardware
from compressors.runtimes.executed import Executed

MARGIN = 2.0
"""How far above the ceiling operations may be: it was measured by torch, at one size, while neighbours may have been
at work, and other libraries reach a little more."""
GAINS: Mapping[str, Mapping[str, float]] = {
    "cpu": {"float32": 1, "bfloat16": 2, "float16": 2, "int8": 4, "int4": 4},
    "cpu-amx": {"float32": 1, "bfloat16": 16, "float16": 16, "int8": 32, "int4": 32},
    "cuda": {"float32": 8, "bfloat16": 16, "float16": 16, "int8": 32, "int4": 32},
}
"""Operations a second over those in fp32, by what the units of each kind do in a cycle: half the bits, twice as many in
a vector register; a tile of AMX 16 times a register of fp32; a tensor core likewise, with TF32 for fp32."""


def ceiling_of(standing: Standing, probes: Sequence[Mapping[str, float]]) -> float | None:
    """Operations a second in fp32 that the machine was seen to do: the most by its qualification, or by the probes
    around a case; None without either."""
    seen = [standing.fp32_gflop_s or 0.0, *(probe.get(MATMUL, 0.0) for probe in probes)]
    return 1e9 * max(seen) or None


def impossible(
    executed: Executed, passes: int, seconds: float, ceiling: float, hardware: Hardware
) -> str | None:  # fmt: skip
    """Why `passes` of it cannot have taken only `seconds` on a machine of that ceiling, in one line; None where they
    can. What a pass does beside products is not counted, so that a kernel that is merely good is never refused."""
    kind = "cuda" if hardware.device != "cpu" else "cpu-amx" if "amx" in hardware.features else "cpu"
    gains = GAINS[kind]
    least = sum(count / (ceiling * gains.get(name, 1)) for name, count in executed.operations.items()) * passes
    if seconds * MARGIN >= least:
        return None
    return (
        f"the machine cannot do it: {passes * executed.total / seconds / 1e9:,.0f} billion operations a second, by the "
        f"model's own count after compression, where {passes * executed.total / least / 1e9:,.0f} are its ceiling; "
        "what is timed is not this work"
    )
