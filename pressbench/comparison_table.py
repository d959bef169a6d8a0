"""What changed since the baseline, or between two runs, as a table."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from results.store.quality import quality_of
from results.store.record import CaseRecord, Measure
from results.store.strict_json import ResultsError
from results.store.text import shown
from results.table.cells import MISSING, numbers
from results.table.choice import GROUPS
from results.table.columns import Column, column, nearest
from results.table.grid import Block, Cell, Grid, Head

HEADLINE = {"accuracy": "accuracy", "speed": "speedup", "footprint": "size"}
"""Record -> the column that stands for it."""
ORDER = (
    "regression", "suspect", "inconclusive", "environment", "not comparable", "noise", "improved", "unchanged", "new",
    "vanished",
)  # fmt: skip
"""Of outcomes, what calls for a person first."""
COLUMNS: dict[str, tuple[str, bool]] = {
    "outcome": ("outcome", False),
    "measure": ("measure", False),
    "case": ("case", False),
    "before": ("before", True),
    "now": ("now", True),
    "change": ("change", True),
    "bound": ("bound", True),
    "n": ("n", True),
    "verdict": ("verdict", False),
    "compressor": ("compressor", False),
    "model": ("model", False),
    "hardware": ("device", False),
    "family": ("family", False),
    "reason": ("reason", False),
}
"""Name -> heading, and whether it is aligned as a number."""
USUAL = ("outcome", "measure", "case", "before", "now", "change", "bound", "n")
MEANING = (
    "accuracy in % of the test examples, change in points; speed as speed-up over dense, size as part of dense (×)",
    "column n: test examples, or pairs of timings; in brackets: 95 % interval of accuracy; 98 % interval of speed-up",
)

_STYLES = {
    "regression": "bold red", "suspect": "yellow", "inconclusive": "yellow", "environment": "yellow",
    "not comparable": "yellow", "improved": "green",
}  # fmt: skip

Known = dict[str, Cell]


def comparison_grid(
    title: str,
    report: Any,
    accepted: Mapping[tuple[str, str], Any],
    *,
    notes: Sequence[str] = (),
    vanished: bool = True,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    group: str | None = None,
    sort: str | None = None,
) -> Grid:
    """The table of a comparison's report. accepted: the earlier results by (measure, case), as a baseline holds
    them. vanished: whether what has no record any more has rows too.

    Raises ResultsError for a column, group or pattern that is not known.
    """
    names = [_known(name) for name in columns] or list(USUAL)
    if group is not None and group not in GROUPS:
        raise ResultsError(f"no group {shown(group)!r}; {nearest(group, GROUPS)}")
    lines = [_line(record, found, accepted.get((record.measure, record.case))) for record, found in report.compared]
    lines += [_gone(measure, case) for measure, case in report.vanished if vanished]
    lines = _ordered(_chosen(lines, rows), sort)
    groups: dict[str, list[Known]] = {}
    for line in lines:
        groups.setdefault(line[group].text if group else "", []).append(line)
    return Grid(
        heads=tuple(Head(name=name, title=COLUMNS[name][0], number=COLUMNS[name][1]) for name in names),
        machines=(),
        blocks=tuple(
            Block(
                title=f"{title}: {part}" if part else title,
                notes=(),
                lines=tuple(tuple(line[name] for name in names) for line in of),
                keys=tuple(_key(line, part) for line in of),
            )
            for part, of in groups.items()
        ),
        notes=(*MEANING, *notes),
    )


def _key(line: Known, part: str) -> dict[str, str]:
    named = {"measure": line["measure"].text, "case": line["case"].text}
    return named | ({"group": part} if part else {})


def _known(name: str) -> str:
    if name not in COLUMNS:
        raise ResultsError(f"no column {shown(name)!r}; {nearest(name, COLUMNS)}")
    return name


def _line(record: CaseRecord, found: Any, earlier: Any) -> Known:
    told = quality_of(record)
    about = column(told.value if record.measure == "accuracy" else HEADLINE[record.measure])
    old = earlier.values.get(about.measure, {}) if earlier is not None else {}
    then = Measure(value=found.before, low=old.get("low"), high=old.get("high"))
    now = record.measures.get(about.measure, Measure())
    judged = column(told.loss if record.measure == "accuracy" else about.name)
    bound = record.measures.get(judged.measure, Measure())
    count = record.evidence.get({"accuracy": "examples", "speed": "pairs"}.get(record.measure, ""))
    count = count if isinstance(count, int) and not isinstance(count, bool) else None
    words = {
        "outcome": found.outcome, "measure": record.measure, "case": record.case, "verdict": record.verdict,
        "compressor": record.compressor, "model": record.model, "hardware": record.hardware,
        "family": record.family, "reason": found.reason,
    }  # fmt: skip
    limit = numbers(bound, judged.digits, judged.scale, judged.signed)[2]
    return {
        **{name: _said(word, _STYLES.get(word, "") if name == "outcome" else "") for name, word in words.items()},
        "before": _number(then, about),
        "now": _number(now, about),
        "change": _change(found.before, found.now, record.measure == "accuracy" and told.points),
        "bound": Cell(text=f"{judged.sign} {limit}{_unit(judged)}" if limit else MISSING, data={"value": bound.bound}),
        "n": Cell(text=MISSING if count is None else f"{count:,}", data={"value": count}),
    }


def _gone(measure: str, case: str) -> Known:
    """An accepted case of which the run has no record."""
    words = {"outcome": "vanished", "measure": measure, "case": case}
    blank = {name: Cell(data={"value": None}) for name in COLUMNS}
    for name in ("before", "now"):
        blank[name] = Cell(data=dict.fromkeys(("value", "low", "high")))
    return blank | {name: _said(word) for name, word in words.items()}


def _said(word: str, style: str = "") -> Cell:
    return Cell(text=word or MISSING, style=style, data={"value": word or None})


def _number(measure: Measure, about: Column) -> Cell:
    value, interval, _ = numbers(measure, about.digits, about.scale, about.signed)
    return Cell(
        text=value if measure.value is None else f"{value}{_unit(about)}",
        interval=interval if measure.value is not None else "",
        data={"value": measure.value, "low": measure.low, "high": measure.high},
    )


def _unit(about: Column) -> str:
    return {"×": "×", "%": " %", "points": " points", "": ""}[about.unit]


def _change(before: float | None, now: float | None, points: bool) -> Cell:
    """In points for a fraction, else in per cent of what it was."""
    if before is None or now is None or (not points and not before):
        return Cell(data={"value": None})
    change = now - before if points else now / before - 1
    shown, _, _ = numbers(Measure(value=change), 1, 100, True)
    return Cell(text=f"{shown} {'points' if points else '%'}", data={"value": change})


def _chosen(lines: list[Known], patterns: Sequence[str]) -> list[Known]:
    def matches(line: Known, pattern: str) -> bool:
        return any(fnmatch.fnmatchcase(line[name].text, pattern) for name in ("compressor", "case"))

    for pattern in patterns:
        if not any(matches(line, pattern) for line in lines):
            known = [line[name].text for name in ("compressor", "case") for line in lines if line[name].text != MISSING]
            raise ResultsError(f"no compressor or case {shown(pattern)!r}; {nearest(pattern, known)}")
    return [line for line in lines if not patterns or any(matches(line, pattern) for pattern in patterns)]


def _ordered(lines: list[Known], sort: str | None) -> list[Known]:
    """By outcome, what calls for a person first; or by a column, upwards, or downwards with "-"."""
    lines = sorted(lines, key=lambda line: ORDER.index(line["outcome"].text))
    if sort is None:
        return lines
    name = _known(sort.removeprefix("-"))
    down = sort.startswith("-")
    if name == "outcome":
        return lines[::-1] if down else lines
    known = [line for line in lines if line[name].data["value"] is not None]
    rest = [line for line in lines if line[name].data["value"] is None]
    return [*sorted(known, key=lambda line: line[name].data["value"], reverse=down), *rest]
