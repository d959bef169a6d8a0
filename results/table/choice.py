"""Which rows of a table, in which sections, in which order: what a reader chose."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from results.store.declared import declared
from results.store.record import VERDICTS, CaseRecord
from results.store.store import Run
from results.store.strict_json import ResultsError
from results.store.text import shown
from results.table.columns import COMPRESSOR, Column, column, nearest
from results.table.machines import Entry, single
from results.table.published import with_published
from results.table.rows import PUBLISHED, Row, Summary, rows_of, summary

GROUPS = ("model", "hardware", "family")


@dataclass(frozen=True)
class Choice:
    """columns: names, the usual ones where empty. rows: shell patterns on compressor or case; hardware: on a device's
    name or class; all where empty. group: one of GROUPS. sort: a column's name, best first; with "-" in front worst
    first."""

    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    group: str | None = None
    sort: str | None = None


ALL = Choice()
"""Every row, in the usual order."""


@dataclass(frozen=True)
class Section:
    """Rows that stand together and may be compared: of one model, task and device. part: the family that they are
    of, "" where they are not divided by it."""

    part: str
    entries: tuple[Entry, ...]

    @property
    def rows(self) -> list[Row]:
        """What each entry is of."""
        return [entry.row for entry in self.entries]


def on_hardware(cases: Sequence[CaseRecord], patterns: Sequence[str]) -> list[CaseRecord]:
    """The records of devices whose name or class matches; all where there is no pattern."""
    return [r for r in cases if not patterns or _matches((r.hardware, r.hardware_class), patterns)]


def check_hardware(cases: Iterable[CaseRecord], patterns: Sequence[str]) -> None:
    """Raise ResultsError for a pattern that matches no device of `cases`, with the nearest names."""
    known = sorted({name for r in cases for name in (r.hardware, r.hardware_class) if name})
    for pattern in patterns:
        if not _matches(known, [pattern]):
            raise ResultsError(f"no hardware {shown(pattern)!r}; {nearest(pattern, known)}")


def sections(found: Sequence[Entry], choice: Choice) -> list[Section]:
    """The chosen rows: dense and controls first, then the methods, sorted, then what others published.

    Raises ResultsError for an unknown group or column, and for a pattern that matches no row.
    """
    if choice.group is not None and choice.group not in GROUPS:
        raise ResultsError(f"no group {shown(choice.group)!r}; {nearest(choice.group, GROUPS)}")
    kept = _chosen(found, choice.rows)
    together: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in kept:
        together.setdefault(entry.row.group, []).append(entry)
    order = list(together)
    if choice.group in ("model", "hardware"):
        places = (0, 1) if choice.group == "model" else (2,)
        leading = list(dict.fromkeys(tuple(key[p] for p in places) for key in order))
        order.sort(key=lambda key: leading.index(tuple(key[p] for p in places)))
    divided = [part for key in order for part in _parts(together[key], choice.group == "family")]
    return [Section(part, tuple(_sorted(group, choice.sort))) for part, group in divided]


def _chosen(found: Sequence[Entry], patterns: Sequence[str]) -> list[Entry]:
    for pattern in patterns:
        if not any(_matches(_names(entry), [pattern]) for entry in found):
            known = [name for entry in found for name in _names(entry)]
            compressors = [entry.row.first.compressor for entry in found]
            raise ResultsError(f"no compressor or case {shown(pattern)!r}; {nearest(pattern, known, compressors)}")
    return [entry for entry in found if not patterns or _matches(_names(entry), patterns)]


def _names(entry: Entry) -> list[str]:
    """The row's compressor, as it is called and as it is shown, then its cases."""
    cases = [r.case for row in (entry.row, *entry.on) if row is not None for r in row.records.values()]
    return list(dict.fromkeys([entry.row.first.compressor, entry.row.label, *filter(None, cases)]))


def _matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _parts(group: list[Entry], by_family: bool) -> list[tuple[str, list[Entry]]]:
    if not by_family:
        return [("", group)]
    parts: dict[str, list[Entry]] = {}
    for entry in group:
        parts.setdefault(_part(entry.row.first), []).append(entry)
    return list(parts.items())


def _part(first: CaseRecord) -> str:
    if first.role == "method":
        return first.family or "no family"
    return PUBLISHED if first.role == PUBLISHED else "dense and controls"


def _sorted(group: list[Entry], by: str | None) -> list[Entry]:
    """Methods by the first machine that has a value; those without one stand last either way."""
    if by is None:
        return group
    reverse, name = by.startswith("-"), by.removeprefix("-")
    chosen = column(name, also=(COMPRESSOR,))
    methods = [entry for entry in group if entry.row.first.role == "method"]
    known = [(rank, entry) for entry in methods if (rank := _rank(entry, chosen)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=reverse != (chosen.better == "higher"))
    ranked = {id(entry) for _, entry in known}
    return [
        *(entry for entry in group if entry.row.first.role not in ("method", PUBLISHED)),
        *(entry for _, entry in known),
        *(entry for entry in methods if id(entry) not in ranked),
        *(entry for entry in group if entry.row.first.role == PUBLISHED),
    ]


def _rank(entry: Entry, chosen: Column) -> tuple[float, str] | None:
    for row in entry.on:
        if row is None:
            continue
        found = chosen.read(row) if chosen.read else row.measure(chosen.measure).value
        if isinstance(found, str):
            return (VERDICTS.index(found), "") if chosen.name.endswith("-verdict") else (0, found.casefold())
        if found is not None:
            return found, ""
    return None


def sections_of(run: Run, choice: Choice) -> list[Section]:
    """The chosen rows of one run; see `sections`."""
    check_hardware(run.cases, choice.hardware)
    found = single(rows_of(on_hardware(run.cases, choice.hardware)))
    return sections(with_published(found, [declared(run.header)]), choice)


def summary_of(run: Run, found: Sequence[Section]) -> Summary:
    """What stands under the run's table: where rows were left out, how many, and of the problems those shown."""
    what, every = summary(run), len(rows_of(run.cases))
    shown_rows = [row for section in found for row in section.rows if row.measured]
    if len(shown_rows) == every:
        return what
    there = {id(record) for row in shown_rows for record in row.records.values()}
    return replace(
        what,
        problems=tuple(record for record in what.problems if id(record) in there),
        notes=(*what.notes, f"{len(shown_rows)} of {every} rows are shown, and what went wrong in them"),
    )
