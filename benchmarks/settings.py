"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.measure.memory import default_limit
from benchmarks.measure.speed import Budget


@dataclass(frozen=True)
class Settings:
    """What a run is asked for. stage_seconds, memory_limit (bytes): what one stage of a worker may take. tau: the
    machine's own deviation; 0 until it has been qualified."""

    tier: str = "quick"
    seed: int = 0
    stage_seconds: float = 900.0
    memory_limit: int = field(default_factory=default_limit)
    budget: Budget = field(default_factory=Budget)
    tau: float = 0.0
