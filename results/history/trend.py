"""The history of a case in the terminal: a line a run, and a sparkline for each machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.store.query import Result, Series
from results.store.record import UNPAIRED, Measure
from results.store.strict_json import Number
from results.store.text import ascii_only, shown
from results.table.cells import date, number, verdict

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_LONGEST = 60
"""How many runs a sparkline shows, the last ones."""
_STYLES = {"fail": "red", "error": "magenta", "inconclusive": "yellow", "unqualified": "yellow", "unsupported": "dim"}


def sparkline(values: Sequence[Number | None], ascii: bool = False) -> str:
    """A character for each value, its height between the least and the largest; a space where there is none.
    Values that are all alike stand at half height."""
    blocks = _ASCII_BLOCKS if ascii else _BLOCKS
    there = [float(value) for value in values if value is not None and math.isfinite(value)]
    low, high = min(there, default=0.0), max(there, default=0.0)
    top = len(blocks) - 1

    def block(value: Number | None) -> str:
        if value is None or not math.isfinite(value):
            return " "
        # Halves first: the span of two huge numbers may be more than a float holds.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return blocks[min(top, int(share * (top + 1)))] if high > low else blocks[top // 2]

    return "".join(block(value) for value in values)


def print_history(series: Sequence[Series], console: Console, last: int = 0) -> None:
    """Print each series: what it is, its sparkline, and a line for each of its `last` runs (0: all)."""
    ascii = console.options.ascii_only

    def text(plain: str, style: str = "") -> Text:
        clean = shown(plain)
        return Text(ascii_only(clean) if ascii else clean, style)

    for (case, measure), group in groupby(series, key=lambda one: (one.case, one.measure)):
        members = list(group)
        note = ": seconds of one program, not paired, to be compared with nothing else" if measure == UNPAIRED else ""
        console.print(text(f"{case}, {members[0].name.replace('_', ' ')}{note}", "bold"))
        for one in members:
            console.print(text(_where(one), "dim"))
            runs = one.values[-_LONGEST:]
            console.print(Text.assemble(text("  "), Text(sparkline(runs, ascii), "cyan"), text(f"  {_range(one)}")))
            console.print(_table(one, text, last))
        console.print()


def _where(one: Series) -> str:
    machine = next((result.machine for result in reversed(one.results) if result.machine), None)
    print_ = f"fingerprint {one.fingerprint[:12]}" if one.fingerprint else "no fingerprint"
    anew = "on another model or other data than the runs above" if one.anew else None
    parts = [machine or "unknown machine", print_, one.workload, anew]
    return ", ".join(part for part in parts if part)


def _range(one: Series) -> str:
    there = [r for r in one.results if r.number(one.name).value is not None]
    if not there:
        return "no number in any run"
    ends = sorted(there, key=lambda r: r.number(one.name).value or 0.0)
    low, high = (number(one.name, _bare(r, one.name)) for r in (ends[0], ends[-1]))
    runs = "1 run" if len(one.results) == 1 else f"{len(one.results)} runs"
    return f"{runs}, {low} to {high}" if low != high else f"{runs}, {low}"


def _bare(result: Result, name: str) -> Measure:
    return Measure(value=result.number(name).value)


def _table(one: Series, text: Any, last: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(5):
        table.add_column(overflow="fold")
    shown_ = one.results[-last:] if last else one.results
    if earlier := len(one.results) - len(shown_):
        table.add_row(text(f"  … {earlier} earlier", "dim"))
    for result in shown_:
        what = ["accepted"] if result.accepted else []
        if result.outcome and result.outcome not in ("unchanged", "new"):
            what.append(result.outcome)
        table.add_row(
            text(f"  {date(result.started) if result.started else ''}", "dim"),
            text(result.run, "dim"),
            text(number(one.name, result.number(one.name))),
            text(verdict(result.verdict), _STYLES.get(result.verdict, "")),
            text(", ".join(what), "bold" if result.accepted else "yellow"),
        )
    return table
