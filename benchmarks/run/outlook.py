"""How much of a run is left: cases by number, and minutes as far as they are known.

A case is expected to take what it took in stored runs of the same machine, at this run's pace; one that no stored run
has, the mean of this run's cases of the same measure and model, from three on. Where nothing is known of one case that
is left, nothing is said of the whole.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.progress import in_words

Key = tuple[str, str]
"""(measure, case)."""
LEAST = 3
"""Cases of one measure and model from which their mean stands for those that are left."""
INERTIA = 30.0
"""Seconds that speak for the pace of stored runs, before this run's own pace counts as much."""
TOLERANCE, TOLERATED = 0.25, 60.0
"""By which share of what is left, and by how many seconds at least, an estimate must be off to be replaced."""


@dataclass(frozen=True)
class Planned:
    """A case that the run will try."""

    measure: str
    case: str
    model: str


class Outlook:
    """What is left of a run. plan: its cases. stored: seconds that cases took in earlier runs on this machine.

    An estimate counts down with the clock, and is replaced only by one that differs clearly: a number that jumps about
    tells nobody when to come back.
    """

    def __init__(
        self, plan: Iterable[Planned], stored: Mapping[Key, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = {(one.measure, one.case): one for one in plan}
        self._total = len(self._left)
        self._stored, self._clock = stored, clock
        self._took: dict[str, list[tuple[float, float]]] = {}  # measure -> (seconds here, seconds in stored runs)
        self._seen: dict[tuple[str, str], list[float]] = {}  # (measure, model) -> seconds
        self._until: float | None = None
        self._replan()

    def finished(self, measure: str, case: str, seconds: float | None) -> None:
        """A case is over. seconds: what it took; None where it was not measured now, but before a run was resumed."""
        one = self._left.pop((measure, case), None)
        if one is None:
            return
        if seconds is not None:
            self._seen.setdefault((measure, one.model), []).append(seconds)
            if (known := self._stored.get((measure, case))) is not None:
                self._took.setdefault(measure, []).append((seconds, known))
        self._replan()

    @property
    def done(self) -> int:
        """How many cases are over."""
        return self._total - len(self._left)

    @property
    def total(self) -> int:
        """How many cases there are."""
        return self._total

    def seconds(self) -> float | None:
        """Seconds until the last case is over, None where they are not known. Never fewer than all cases but the
        present one are expected to take."""
        if self._until is None:
            return None
        expected = [seconds for one in self._left.values() if (seconds := self._expected(one)) is not None]
        return max(self._until - self._clock(), sum(expected) - max(expected, default=0.0))

    def __str__(self) -> str:
        """`12 of 84 cases, about 9 min left`."""
        count = f"{self.done} of {self.total} cases"
        left = self.seconds()
        return count if left is None else f"{count}, {in_words(left)} left"

    def _replan(self) -> None:
        expected = [self._expected(one) for one in self._left.values()]
        known = [seconds for seconds in expected if seconds is not None]
        if not known or len(known) < len(expected):
            self._until = None
            return
        new, now = sum(known), self._clock()
        if self._until is None or abs(self._until - now - new) > max(TOLERATED, TOLERANCE * new):
            self._until = now + new

    def _expected(self, one: Planned) -> float | None:
        """Seconds that a case is expected to take, None where nothing is known of it."""
        if (stored := self._stored.get((one.measure, one.case))) is not None:
            pairs = self._took.get(one.measure, [])
            return stored * (sum(here for here, _ in pairs) + INERTIA) / (sum(there for _, there in pairs) + INERTIA)
        seen = self._seen.get((one.measure, one.model), [])
        return statistics.fmean(seen) if len(seen) >= LEAST else None
