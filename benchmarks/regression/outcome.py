"""What becomes of a result beside what was accepted, in words and numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.store.record import CaseRecord

FLOORS = {"speed": 0.03, "footprint": 0.01, "accuracy": 0.005, "perplexity": 0.005, "score": 0.005}
"""What counts as a change at all: shares of the speed-up, of the size and of the perplexity, half a point of
accuracy and of a score."""
REGRESSION, IMPROVED, UNCHANGED = "regression", "improved", "unchanged"
NOISE, ENVIRONMENT, NEW, SUSPECT = "noise", "environment", "new", "suspect"
INCONCLUSIVE, INCOMPARABLE = "inconclusive", "not comparable"
UNRESOLVED = (SUSPECT, INCONCLUSIVE, ENVIRONMENT)
"""Slower, and neither a regression nor ruled out: nothing about it is settled."""


@dataclass(frozen=True)
class Comparison:
    """outcome: one of the words above. against: the run of the accepted result, None without one. detectable: the
    smallest slow-down, as a fraction, that one run would show against what this was compared with. doubtful: it was
    measured again, or has to be, for being slower than runs differ, and within the limits of what it was compared
    with."""

    outcome: str
    reason: str
    against: str | None = None
    before: float | None = None
    now: float | None = None
    p_value: float | None = None
    reruns: tuple[float, ...] = ()
    detectable: float | None = None
    doubtful: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a record keeps it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """What `to_json` gave."""
        known = {f.name for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        return cls(**values)


def value_of(record: CaseRecord, name: str) -> float | None:
    """The number called `name` of a record; None where it has none."""
    measure = record.measures.get(name)
    return None if measure is None or measure.value is None else float(measure.value)
