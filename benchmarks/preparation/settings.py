"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.measure.memory import default_limit
from benchmarks.measure.speed import Budget

USUAL = Budget(fair=40, patience=120.0)
"""What a speed case may spend: 40 pairs decide most that a minute of slow ones, as of decoding, would leave open."""
BUDGETS = {"quick": replace(USUAL, seconds=30.0)}
"""Tier -> the same, where it is not the usual."""
STAGE_LIMITS, LONG_STAGE = {"quick": 900.0}, 7200.0
"""Tier -> the longest that a stage may take, where nothing else is said. A quarter of an epoch of recovery of a
language model took 915 s on two slow processors, which is no hang."""


@dataclass(frozen=True)
class Settings:
    """What a run is asked for.

    stage_seconds, memory_limit (bytes): what one stage of a worker may take. tau: the machine's own deviation;
    None: from its latest qualification, 0 without one. qualifications: where these are stored; None: nowhere.
    qualify: whether a machine without one gets a short one first. unqualified_ok: whether speed is judged
    under whatever conditions it was timed."""

    tier: str = "quick"
    seed: int = 0
    stage_seconds: float = STAGE_LIMITS["quick"]
    memory_limit: int = field(default_factory=default_limit)
    budget: Budget = field(default_factory=lambda: USUAL)
    tau: float | None = None
    qualifications: Path | None = None
    qualify: bool = False
    unqualified_ok: bool = False
