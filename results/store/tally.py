"""How much of a run was executed, and with which verdicts: counted from its records, never assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from results.store.record import VERDICTS, CaseRecord, RunHeader


@dataclass(frozen=True)
class Tally:
    """executed of expected cases; verdict -> records; what is missing, not planned, or recorded twice."""

    executed: int
    expected: int
    counts: Mapping[str, int]
    missing: tuple[str, ...]
    unplanned: tuple[str, ...]
    repeated: tuple[str, ...]


def latest(cases: Iterable[CaseRecord]) -> tuple[CaseRecord, ...]:
    """The records that count: where a case was measured again, the last one, at the first one's place."""
    kept: dict[tuple[str, str, str | None], CaseRecord] = {}
    for record in cases:
        kept[record.case, record.measure, record.workload] = record
    return tuple(kept.values())


def tally(header: RunHeader, cases: Iterable[CaseRecord]) -> Tally:
    """What `cases` make of the plan in `header`.

    An id that the plan names once is executed with its first record; one named three times, as a case
    measured three ways may be, with its third. Without a plan every record counts as executed.
    """
    every = tuple(cases)
    counted = latest(every)
    verdicts = Counter(record.verdict for record in counted)
    planned, done = Counter(header.expected), Counter(record.case for record in counted)
    missing = planned - done
    return Tally(
        executed=planned.total() - missing.total() if planned else len(counted),
        expected=planned.total(),
        counts={verdict: verdicts[verdict] for verdict in VERDICTS if verdicts[verdict]},
        missing=tuple(missing.elements()),
        unplanned=tuple(case for case in done if case not in planned),
        repeated=tuple(case for case, times in Counter(record.case for record in every).items() if times > done[case]),
    )
