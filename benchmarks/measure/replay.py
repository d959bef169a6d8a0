"""A clock that replays durations measured elsewhere, so that pytest-benchmark's table, JSON, autosave
and compare show our samples. Through its public API only:

    @pytest.mark.benchmark(timer=CLOCK.now)
    ...
    CLOCK.load(durations)
    benchmark.pedantic(CLOCK.tick, rounds=len(durations), iterations=1, warmup_rounds=0)
"""

from __future__ import annotations

from collections.abc import Iterable


class ReplayClock:
    """`now` only moves when `tick` is called, by the next recorded duration (seconds)."""

    def __init__(self) -> None:
        self._time = 0.0
        self._pending: list[float] = []

    def load(self, durations: Iterable[float]) -> None:
        """Durations to replay, in order; what was left of earlier ones is dropped."""
        self._pending = list(durations)[::-1]

    def now(self) -> float:
        """The replayed time, seconds."""
        return self._time

    def tick(self) -> None:
        """Let the next duration go by; nothing where none is left."""
        if self._pending:
            self._time += self._pending.pop()


CLOCK = ReplayClock()
