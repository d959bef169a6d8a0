"""When a suspected regression is measured again: after all other cases, suspects in turn, never at once.

What slows a machine for a while slows a rerun that follows at once too, and noise would confirm itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from results.store.record import CaseRecord


@dataclass
class _Turns:
    first: CaseRecord
    ended: float
    reruns: list[CaseRecord] = field(default_factory=list)


class Suspects:
    """The suspects of a run that wait for another turn. pause: takes a case and the seconds to let pass.

    Who gives turns in the order in which suspects were last measured waits for `spacing` at most once a round,
    however many suspects there are: for three reruns each, three times.
    """

    def __init__(
        self, spacing: float, pause: Callable[[str, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spacing, self._pause, self._clock = spacing, pause, clock
        self._waiting: dict[str, _Turns] = {}

    def turn(
        self, case: str, measure: Callable[[], CaseRecord], again: Callable[[], CaseRecord]
    ) -> tuple[CaseRecord, tuple[CaseRecord, ...]]:
        """The case's first record and its reruns so far: one more for a case that waits."""
        turns = self._waiting.get(case)
        if turns is None:
            return measure(), ()
        if (early := turns.ended + self._spacing - self._clock()) > 0:
            self._pause(case, early)
        turns.reruns.append(again())
        turns.ended = self._clock()
        return turns.first, tuple(turns.reruns)

    def put_off(self, case: str, first: CaseRecord) -> None:
        """Let a case wait for another turn."""
        self._waiting.setdefault(case, _Turns(first, self._clock()))

    def settle(self, case: str) -> None:
        """The case needs no further turn."""
        self._waiting.pop(case, None)

    def waits(self, case: str) -> bool:
        """Whether a case waits for another turn."""
        return case in self._waiting

    def turns(self, case: str) -> int:
        """How many turns a case that waits has had after its first."""
        return len(self._waiting[case].reruns)
