"""What a person sees while a stage runs, how much of the run is left, and where the time went.

On a terminal bars that clear themselves; elsewhere one plain line a stage that took more than a moment.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from compressors.interface import Progress as Report
from compressors.interface import no_progress

PLAIN_AFTER = 5.0
"""Seconds from which a stage is worth a line in a log."""


class Left(Protocol):
    """What is left of a run, as `benchmarks.run.outlook` tells it: cases done and in all, seconds if known."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    def seconds(self) -> float | None: ...


class Stages:
    """Shows stages one at a time and adds up their seconds by kind.

    uncaptured: a context manager factory within which writing to `file` reaches the person. outlook: what is left of
    the run that the stages belong to, set once it is known."""

    def __init__(
        self,
        file: TextIO | None = None,
        uncaptured: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self.console = Console(file=file or sys.stderr, highlight=False)
        self.seconds: dict[str, float] = {}
        self.operations: dict[str, Counter[str]] = {}
        """Kind -> operations of linear layers by the type of their operands, see `benchmarks.measure.products`."""
        self.timed: dict[str, float] = {}
        """Kind -> seconds of what was not done for its result but to time it."""
        self.outlook: Left | None = None
        self._uncaptured = uncaptured
        self._reports: list[Report] = []  # innermost last, as the kinds
        self._kinds: list[str] = []

    @contextlib.contextmanager
    def __call__(self, kind: str, label: str) -> Iterator[Report]:
        """Time one stage under `kind`; yields what takes its progress. Time of a stage within a stage
        counts for the inner one only."""
        started = time.perf_counter()
        before = sum(self.seconds.values())
        with contextlib.ExitStack() as stack:
            if self._reports:  # the bar belongs to the outermost stage
                report = self._reports[0]
            else:
                stack.enter_context(self._uncaptured())
                report = stack.enter_context(self._bars(label)) if self.console.is_terminal else no_progress
            self._reports.append(report)
            self._kinds.append(kind)
            try:
                yield report
            finally:
                self._reports.pop()
                self._kinds.pop()
                spent = time.perf_counter() - started
                inner = sum(self.seconds.values()) - before
                self.seconds[kind] = self.seconds.get(kind, 0.0) + spent - inner
                if not self.console.is_terminal and spent - inner >= PLAIN_AFTER:
                    where = f" ({self.outlook})" if self.outlook else ""
                    line = Text(f"  {label}: {kind}, {spent - inner:.0f} s{where}")
                    self.console.print(line, soft_wrap=True)  # a log is no terminal: a line is a line

    def did(self, operations: Mapping[str, int]) -> None:
        """What was computed in the innermost stage; nothing outside of all."""
        if self._kinds:
            self.operations.setdefault(self._kinds[-1], Counter()).update(operations)

    def took(self, seconds: float) -> None:
        """What was timed in the innermost stage."""
        if self._kinds:
            self.timed[self._kinds[-1]] = self.timed.get(self._kinds[-1], 0.0) + seconds

    @contextlib.contextmanager
    def _bars(self, label: str) -> Iterator[Report]:
        """A bar for the run, where its outlook is known, above one for the stage."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Time(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            if outlook := self.outlook:
                bar.add_task("cases", total=outlook.total, completed=outlook.done, outlook=outlook)
            task = bar.add_task(label, total=None)

            def report(what: str, done: int, total: int) -> None:
                bar.update(task, description=f"{label}: {what}", completed=done, total=total)

            yield report


class _Time(ProgressColumn):
    """Of a stage how long it has taken; of the run how long it will, where that is known."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._elapsed = TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        outlook = task.fields.get("outlook")
        if outlook is None:
            return self._elapsed.render(task)
        left = outlook.seconds()
        return Text("" if left is None else f"{in_words(left)} left")


def in_words(seconds: float) -> str:
    """A duration as roughly as it is known: `less than a minute`, `about 9 min`, `about 25 min`, `about 1.5 h`."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 10:
        return f"about {round(minutes)} min"
    if minutes < 58:
        return f"about {5 * round(minutes / 5)} min"
    return f"about {round(minutes / 30) / 2:g} h"
