"""What a person sees while the checks run: a table that fills on a terminal, a line a check elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from benchmarks.gpu_check.check import Check, Result

STYLES = {"held": "green", "failed": "bold red", "not here": "yellow"}


class Screen:
    """Shows results as they come; within it what is shown fills, after it a table stays."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._total, self._now = total, ""
        self._results: Sequence[Result] = ()
        self._told = 0
        self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self._shown)

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._now = ""
        if self.console.is_terminal:
            self._live.stop()
        elif self._results:
            self.console.print(table(self._results))

    def begins(self, check: Check, number: int) -> None:
        """A check begins."""
        self._label = self._now = f"{number + 1} of {self._total}: {check.name}"

    def steps(self, what: str) -> None:
        """What it is at."""
        self._now = f"{self._label}: {what}"

    def ends(self, results: Sequence[Result]) -> None:
        """All results so far."""
        self._results = list(results)
        if not self.console.is_terminal:
            for number in range(self._told, len(results)):
                one = results[number]
                reason = f": {one.reason}" if one.reason else ""
                line = f"[{number + 1}/{self._total}] {one.name} {one.kind}, {one.seconds:.1f} s{reason}"
                self.console.print(line, markup=False, soft_wrap=True)
            self._told = len(results)

    def _shown(self) -> Group:
        below = [Spinner("dots", escape(self._now))] if self._now else []
        return Group(table(self._results), *below)


def table(results: Sequence[Result]) -> Table:
    """A row a check."""
    made = Table("check", "", "s", "why not, or numbers", highlight=False)
    for one in results:
        numbers = f"{len(one.numbers)} numbers" if one.numbers else ""
        style = STYLES[one.kind]
        made.add_row(one.name, f"[{style}]{one.kind}[/]", f"{one.seconds:.1f}", escape(one.reason or numbers))
    return made
