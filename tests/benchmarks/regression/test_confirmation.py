"""Reruns of suspects keep their distance: in turns, and in time where nothing else fills it."""

from __future__ import annotations

import itertools
from collections import deque

from benchmarks.regression.confirmation import Suspects
from results.store.record import CaseRecord

SPACING = 60.0
"""Seconds between two measurements of one suspect."""
TAKES = 10.0
"""Seconds that each measurement takes."""


class Night:
    """Cases measured one after another by a clock of its own, suspects again in the order of a run's queue."""

    def __init__(self) -> None:
        self.now = 0.0
        self.paused: list[float] = []
        self.measured: list[tuple[str, float]] = []
        self.suspects = Suspects(SPACING, self.pause, lambda: self.now)

    def pause(self, case: str, seconds: float) -> None:
        self.paused.append(seconds)
        self.now += seconds

    def measure(self, case: str) -> CaseRecord:
        self.measured.append((case, self.now))
        self.now += TAKES
        return CaseRecord(
            run="r", case=case, measure="speed", compressor="c", model="m", hardware="cpu", verdict="pass"
        )

    def run(self, cases: list[str], suspects: set[str], reruns: int = 3) -> None:
        queue = deque(cases)
        while queue:
            case = queue.popleft()
            first, so_far = self.suspects.turn(case, lambda c=case: self.measure(c), lambda c=case: self.measure(c))
            if case in suspects and len(so_far) < reruns:
                self.suspects.put_off(case, first)
                queue.append(case)
            else:
                self.suspects.settle(case)

    def times(self, case: str) -> list[float]:
        return [time for name, time in self.measured if name == case]


def test_suspects_come_after_all_others_and_take_turns() -> None:
    night = Night()
    night.run(["a", "b", "c", "d"], {"a", "c"})
    assert [case for case, _ in night.measured] == ["a", "b", "c", "d", "a", "c", "a", "c", "a", "c"]


def test_a_suspect_alone_waits_between_its_measurements() -> None:
    night = Night()
    night.run(["a"], {"a"})
    assert night.times("a") == [n * (SPACING + TAKES) for n in range(4)]
    assert night.paused == [SPACING] * 3


def test_many_suspects_wait_no_longer_than_one() -> None:
    night = Night()
    night.run(["a", "b", "c"], {"a", "b", "c"})
    for case in "abc":
        times = night.times(case)
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= SPACING + TAKES
    assert sum(night.paused) <= 3 * SPACING


def test_where_other_cases_fill_the_time_nobody_waits() -> None:
    night = Night()
    night.run(["a", *(f"other{n}" for n in range(6))], {"a"}, reruns=1)
    assert night.paused == []


def test_reruns_are_handed_on_with_the_first_record() -> None:
    night = Night()
    first, none = night.suspects.turn("a", lambda: night.measure("a"), lambda: night.measure("a"))
    night.suspects.put_off("a", first)
    assert none == ()
    again, reruns = night.suspects.turn("a", lambda: night.measure("x"), lambda: night.measure("a"))
    assert again is first
    assert len(reruns) == 1
    assert night.suspects.waits("a")
    night.suspects.settle("a")
    assert not night.suspects.waits("a")
