"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.measure.speed import Budget


@dataclass(frozen=True)
class Settings:
    """What a run is asked for. tau: the machine's own deviation; 0 until it has been qualified."""

    tier: str = "quick"
    seed: int = 0
    stage_seconds: float = 900.0
    budget: Budget = field(default_factory=Budget)
    tau: float = 0.0
