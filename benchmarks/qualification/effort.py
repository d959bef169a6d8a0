"""How much one qualification measures: the full one that a person asks for, the quick one before a run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.measure.speed import Budget
from benchmarks.verdicts import FEWEST as FEWEST_PAIRS

FEWEST = 3
"""Rounds below which there is no deviation to speak of."""
WANTED = 5
"""Rounds that a qualified machine has."""


@dataclass(frozen=True)
class Effort:
    """rounds: fresh pairs of processes; once `seconds` are spent no further one begins, but for the first
    FEWEST. round: slot pairs in each. delay: at most, to find the delay.
    fresh_control: whether bf16 starts anew in every round."""

    rounds: int
    round: Budget
    delay: Budget
    fresh_control: bool
    seconds: float


def _exactly(pairs: int, seconds: float) -> Budget:
    return Budget(pairs=pairs, at_least=pairs, seconds=seconds, linger=seconds, fewest=1)


FULL = Effort(8, _exactly(25, 20.0), Budget(200, 30.0, FEWEST_PAIRS, 0.0), fresh_control=True, seconds=240.0)
"""200 pairs of dense against dense: about a minute on two quiet cores."""
QUICK = Effort(5, _exactly(12, 2.0), Budget(100, 5.0, FEWEST_PAIRS, 0.0), fresh_control=False, seconds=15.0)
"""60 pairs; the limits in seconds are for busy machines."""
