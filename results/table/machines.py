"""Several runs side by side: which were on one machine, and the rows that their cases share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from results.store.machine import differences, fingerprint_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.tally import latest
from results.table.cells import circumstances, headline, missing
from results.table.rows import Row, at_workload, rows_of, summary

_NAMED = 3
"""How many fields in which two machines of one name differ are told."""
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One row of a table. row: what it is of. on: its records on each machine, None where the machine has none."""

    row: Row
    on: tuple[Row | None, ...]


@dataclass(frozen=True)
class Machine:
    """What is known of one machine. runs: oldest first. cases: of each case the newest record. notes: for a reader,
    where and when, and what is not whole."""

    name: str
    runs: tuple[Run, ...]
    cases: tuple[CaseRecord, ...]
    notes: tuple[str, ...]


def machines(runs: Sequence[Run], whole: bool = True) -> list[Machine]:
    """The machines of `runs`, in the order in which they are first named; a run that is named twice counts once.
    whole: whether all of each run is here; where not, the notes only say which runs the records are from.

    Runs are of one machine where their fingerprints are equal: another version of a library is another machine,
    and the notes say in what they differ. Without a fingerprint each run stands alone.
    """
    unlike = {run.path.resolve(): run for run in runs}
    by_machine: dict[str, list[Run]] = {}
    for path, run in unlike.items():
        by_machine.setdefault(fingerprint_of(run)[0] or f"run {path}", []).append(run)
    groups = [
        sorted(group, key=lambda run: (_time(run.header.started), run.header.run)) for group in by_machine.values()
    ]
    names = [_name(group[-1]) for group in groups]
    alike, seen = Counter(names), Counter[str]()
    found = []
    for name, group in zip(names, groups, strict=True):
        seen[name] += 1
        title = f"{name} ({seen[name]})" if alike[name] > 1 else name
        first = groups[names.index(name)]
        found.append(Machine(title, tuple(group), _newest(group), tuple(_notes(group, first, whole))))
    return found


def entries(found: Sequence[Machine]) -> list[Entry]:
    """One row for each compressor and workload that any machine has, in the order of `rows_of`."""
    by_key: list[dict[tuple[str, ...], list[CaseRecord]]] = []
    for machine in found:
        of: dict[tuple[str, ...], list[CaseRecord]] = {}
        for record in machine.cases:
            of.setdefault(Row("", None, {record.measure: record}).key, []).append(record)
        by_key.append(of)
    joined = []
    for row in rows_of(record for machine in found for record in machine.cases):
        there = [at_workload(of.get(row.key, ()), row.workload) for of in by_key]
        joined.append(Entry(row, tuple(Row(row.label, row.workload, r) if r else None for r in there)))
    return joined


def single(found: Sequence[Row]) -> list[Entry]:
    """The rows of one run, as of the only machine."""
    return [Entry(row, (row,)) for row in found]


def _newest(group: Collection[Run]) -> tuple[CaseRecord, ...]:
    kept: dict[tuple[str, str, str | None], CaseRecord] = {}
    when: dict[tuple[str, str, str | None], datetime] = {}
    for run in group:
        for record in latest(run.cases):
            key = record.case, record.measure, record.workload
            ended = _time(record.ended, _time(run.header.started))
            if key not in kept or ended >= when[key]:
                kept[key], when[key] = record, ended
    return tuple(kept.values())


def _notes(group: Sequence[Run], first: Sequence[Run], whole: bool) -> list[str]:
    notes = [circumstances(run.header) for run in (group if whole else group[-1:])]
    if not whole and len(group) > 1:
        notes[0] += f" and {len(group) - 1} earlier, the first {group[0].header.run}"
    if first is not group:
        differ = differences(fingerprint_of(group[-1])[1], fingerprint_of(first[-1])[1])
        more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
        if differ:
            notes.append(f"differs from {_name(first[-1])} (1) in {'; '.join(differ[:_NAMED])}{more}")
    if not whole:
        return notes
    if len(group) > 1:
        times = Counter((r.case, r.measure, r.workload) for run in group for r in latest(run.cases))
        repeated = sum(number > 1 for number in times.values())
        notes.append(f"{len(group)} runs of one machine, the newest record of each case counts: {repeated} of"
                     f" {len(times)} are in more than one")  # fmt: skip
    for run in group:
        what = summary(run)
        if what.interrupted or what.missing or what.notes:
            absent = f"; not executed: {', '.join(missing(what))}" if what.missing else ""
            notes.append(f"run {run.header.run} {headline(what)}{absent}")
            notes += [f"run {run.header.run}: {note}" for note in what.notes]
    return notes


def _name(run: Run) -> str:
    machine = run.header.machine
    return str(machine.get("name") or machine.get("cpu") or "unknown machine")


def _time(iso: str, otherwise: datetime = _EVER) -> datetime:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
