"""A run's records joined into table rows, and what stands under the table. No formatting here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from results.store.record import MEASURE_NAMES, ROLES, VERDICTS, CaseRecord, Measure
from results.store.store import Run
from results.store.tally import latest, tally

PROBLEMS = tuple(verdict for verdict in VERDICTS if verdict not in ("pass", "measured"))
PUBLISHED = "published"
"""The role of a row that was not measured, see `results.table.published`. No record of a file has it."""
DENSE = "dense torch fp32"
"""What rows are held against, unless their records say otherwise."""
NO_MEASURE = Measure(reason="not recorded")
_MEASURE_OF = {name: measure for measure, names in MEASURE_NAMES.items() for name in names}


@dataclass(frozen=True)
class Row:
    """One compressor on one model, task, hardware and workload, with up to one record of each measure.

    label: the compressor's name, with its parameters where rows of one group would else look alike.
    """

    label: str
    workload: str | None
    records: Mapping[str, CaseRecord]

    @property
    def first(self) -> CaseRecord:
        """Any of the records: for what they share."""
        return next(iter(self.records.values()))

    @property
    def measured(self) -> bool:
        """Whether it was measured here, and is no number from the literature."""
        return self.first.role != PUBLISHED

    @property
    def group(self) -> tuple[str, str, str]:
        """(model, task, hardware): rows that stand in one table."""
        return self.first.model, self.first.task, self.first.hardware

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same for all workloads of one compressor: model, task, hardware, compressor, parameters."""
        return (*self.group, *_compressor(self.first))

    def measure(self, name: str) -> Measure:
        """The measure called `name`, all None where it was not recorded."""
        record = self.records.get(_MEASURE_OF[name])
        return NO_MEASURE if record is None else record.measures.get(name, NO_MEASURE)

    def verdict(self, measure: str) -> str | None:
        """The verdict of "accuracy", "speed" or "footprint"; None where there is no record of a measurement."""
        record = self.records.get(measure)
        return None if record is None or not self.measured else record.verdict

    @property
    def pairs(self) -> int | None:
        """How many pairs of timings the speed-up rests on."""
        pairs = self._speed_evidence("pairs")
        return pairs if isinstance(pairs, int) and not isinstance(pairs, bool) else None

    @property
    def dense_memory(self) -> object:
        """Bytes that the dense model took while it was timed beside it, see `timed_memory_bytes`."""
        taken = self._speed_evidence("memory_bytes")
        return taken.get("dense") if isinstance(taken, Mapping) else None

    @property
    def examples(self) -> int | None:
        """How many test examples the accuracy rests on."""
        record = self.records.get("accuracy")
        examples = None if record is None else record.evidence.get("examples")
        return examples if isinstance(examples, int) and not isinstance(examples, bool) else None

    @property
    def control(self) -> str | None:
        """The name of the best dense control that `speedup_vs_control` compares with."""
        control = self._speed_evidence("control")
        return control if isinstance(control, str) and control else None

    def _speed_evidence(self, key: str) -> object:
        record = self.records.get("speed")
        return None if record is None else record.evidence.get(key)


def reference_of(rows: Iterable[Row | None]) -> str:
    """What these rows are held against, in words; "the dense model" where that is not the same for all. Every record of
    a model that was measured says so, where it is not what it usually is."""
    found: dict[str, str] = {}
    for record in (record for row in rows if row is not None and row.measured for record in row.records.values()):
        told = record.evidence.get("reference")
        found[record.model] = told if isinstance(told, str) and told else found.get(record.model, DENSE)
    every = set(found.values())
    return "the dense model" if len(every) > 1 else next(iter(every), DENSE)


def has_regressed(record: CaseRecord) -> bool:
    """Whether it failed against its own history, whatever its bound says."""
    return bool(record.comparison) and record.comparison.get("outcome") == "regression"


@dataclass(frozen=True)
class Summary:
    """What a reader must know beside the rows.

    counts: verdict -> records. problems: the records with any other verdict than pass or measured, worst
    first. notes: what is odd about the file itself, one line each. seconds, least: stage -> seconds, see `RunEnd`.
    """

    interrupted: bool
    executed: int
    expected: int
    counts: Mapping[str, int]
    problems: tuple[CaseRecord, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    least: Mapping[str, float]


def judged(found: Iterable[Row | None], measure: str) -> list[CaseRecord]:
    """The records of one measure that these rows have."""
    return [row.records[measure] for row in found if row is not None and measure in row.records]


def rows(run: Run) -> list[Row]:
    """The rows of a run: see `rows_of`."""
    return rows_of(run.cases)


def rows_of(cases: Iterable[CaseRecord]) -> list[Row]:
    """One row for each compressor and workload, by model: dense first, then controls, then methods, each
    in the order of the cases. Accuracy and footprint, which have no workload, stand in each workload's row."""
    groups: dict[tuple[str, str, str], dict[tuple[str, str], list[CaseRecord]]] = {}
    for record in latest(cases):
        group = groups.setdefault((record.model, record.task, record.hardware), {})
        group.setdefault(_compressor(record), []).append(record)
    joined: list[Row] = []
    for group in groups.values():
        alike = Counter(compressor for compressor, _ in group)
        ordered = sorted(group.values(), key=lambda records: ROLES.index(records[0].role))
        for records in ordered:
            joined += _by_workload(_label(records[0], alone=alike[records[0].compressor] == 1), records)
    return joined


def summary(run: Run) -> Summary:
    """What stands under the run's table."""
    count, end = tally(run.header, run.cases), run.end
    notes = [f"line {number} could not be read: {why}" for number, why in run.damaged]
    if end and dict(end.counts) != dict(count.counts):
        notes.append(f"the run counted {_counts(end.counts)}; its records say {_counts(count.counts)}")
    notes += [f"{case}: measured more than once, the last record counts" for case in count.repeated]
    if count.expected:
        notes += [f"{case}: recorded, but not among the cases the run expected" for case in count.unplanned]
    problems = [record for record in latest(run.cases) if record.verdict in PROBLEMS]
    return Summary(
        interrupted=end is None,
        executed=end.executed if end else count.executed,
        expected=end.expected if end else count.expected,
        counts=count.counts,
        problems=tuple(sorted(problems, key=lambda record: PROBLEMS.index(record.verdict))),
        missing=count.missing,
        notes=tuple(notes),
        seconds=end.seconds if end else {},
        least=end.least if end else {},
    )


def _compressor(record: CaseRecord) -> tuple[str, str]:
    return record.compressor, json.dumps(record.parameters, sort_keys=True)


def _by_workload(label: str, records: list[CaseRecord]) -> list[Row]:
    workloads: list[str | None] = [*dict.fromkeys(r.workload for r in records if r.workload is not None)]
    return [Row(label, workload, at_workload(records, workload)) for workload in workloads or [None]]


def at_workload(records: Iterable[CaseRecord], workload: str | None) -> dict[str, CaseRecord]:
    """Measure -> record, of one compressor at one workload: a record made for it, or one without a workload."""
    every = list(records)
    return {r.measure: r for at in (None, workload) for r in every if r.workload == at}


def _label(record: CaseRecord, alone: bool) -> str:
    if alone or not record.parameters:
        return record.compressor
    return f"{record.compressor} ({', '.join(f'{k}={v}' for k, v in record.parameters.items())})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "nothing"
