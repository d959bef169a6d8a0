"""Can the machine have done in that time what a model executes? More operations a second than it has, by a wide margin,
are no speed: what was timed was something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure.probes import MATMUL
from benchmarks.qualification.standing import Standing
from compressors.interface import Hardware
from compressors.runtimes.executed import Executed

MARGIN, UNSURE = 3.0, 8.0
"""How many times the ceiling operations may be: where that is the most of a whole qualification, measured by torch, at
one size, and other libraries reach more; and where only a short one or the probes around the case tell it, while
neighbours were at work. What is caught is work that is not done, which is faster by tens and thousands."""
GAINS: Mapping[str, Mapping[str, float]] = {
    "cpu": {"float32": 1, "bfloat16": 2, "float16": 2, "int8": 4, "int4": 4},
    "cpu-amx": {"float32": 1, "bfloat16": 16, "float16": 16, "int8": 32, "int4": 32},
    "cuda": {"float32": 8, "bfloat16": 16, "float16": 16, "float8": 32, "int8": 32, "int4": 32},
}
"""Operations a second over those in fp32, by what the units of each kind do in a cycle: half the bits, twice as many in
a vector register; a tile of AMX 16 times a register of fp32; a tensor core likewise, with TF32 for fp32."""


@dataclass(frozen=True)
class Ceiling:
    """operations: a second, in fp32, that the machine was seen to do. margin: how many times that may be."""

    operations: float
    margin: float


def ceiling_of(standing: Standing, probes: Sequence[Mapping[str, float]]) -> Ceiling | None:
    """The most by the machine's qualification, or by the probes around a case; None without either."""
    probed = max((probe.get(MATMUL, 0.0) for probe in probes), default=0.0)
    most = max(standing.fp32_gflop_s or 0.0, probed)
    sure = standing.fp32_gflop_s is not None and not standing.quick
    return Ceiling(1e9 * most, MARGIN if sure else UNSURE) if most else None


def impossible(
    executed: Executed, passes: int, seconds: float, ceiling: Ceiling, hardware: Hardware
) -> str | None:  # fmt: skip
    """Why `passes` of it cannot have taken only `seconds` on a machine of that ceiling, in one line; None where they
    can. What a pass does beside products is not counted, so that a kernel that is merely good is never refused."""
    kind = "cuda" if hardware.device != "cpu" else "cpu-amx" if "amx" in hardware.features else "cpu"
    gains = GAINS[kind]
    counts = executed.operations.items()
    least = passes * sum(count / (ceiling.operations * gains.get(name, 1)) for name, count in counts)
    if seconds * ceiling.margin >= least:
        return None
    return (
        f"the machine cannot do it: {passes * executed.total / seconds / 1e9:,.0f} billion operations a second, by the "
        f"model's own count after compression, where {passes * executed.total / least / 1e9:,.0f} are its ceiling; "
        "what is timed is not this work"
    )
