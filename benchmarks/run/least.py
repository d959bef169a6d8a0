"""The least that the stages of a run could have taken on this machine, beside what they took.

Of training, compressing and evaluating it is what the operations of linear layers take, which torch computed there, at
the most operations a second that the machine's qualification reached; of measuring speed it is the calls that were
timed. What other runtimes compute is not counted: a stage may have no such number, and none has too large a one.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.progress import Stages
from benchmarks.qualification.standing import Standing


def least(stages: Stages, standing: Standing) -> dict[str, float]:
    """Stage -> seconds, of what is known. standing: of the CPU that torch computed on; without a qualification only
    what was timed is known."""
    found = dict(stages.timed)
    rates = {"float32": standing.fp32_gflop_s, "bfloat16": standing.bf16_gflop_s}
    for kind, operations in stages.operations.items():
        seconds = sum(count / (rate * 1e9) for name, count in operations.items() if (rate := rates.get(name)))
        if seconds:
            found[kind] = found.get(kind, 0.0) + seconds
    return found


def in_tenths(found: Mapping[str, float]) -> dict[str, float]:
    """To tenths of a second."""
    return {kind: round(seconds, 1) for kind, seconds in found.items()}
