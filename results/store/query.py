"""Questions to many runs at once: the history of a case, the newest result of every case.

Run files are queried where they lie, in a folder or under a URL; nothing has to be imported and no server
runs. What has been parsed once is kept in `results.store.index`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import duckdb

from results.store import index
from results.store.quality import quality_in
from results.store.record import HEADLINE, MEASURE_NAMES, UNPAIRED, Measure
from results.store.run_files import RunFolder
from results.store.scan import Scanner
from results.store.store import Run, run_of
from results.store.strict_json import Number, ResultsError
from results.store.tally import latest as newest_of
from results.store.text import shown

Accepted = Mapping[tuple[str, str, str], str]
"""(fingerprint, measure, case) -> the run whose result was accepted."""
NONE_ACCEPTED: Accepted = MappingProxyType({})
_KEEP_FROM = 16 * 2**20
"""Bytes of run files not in the index from which on it is written again: fewer are parsed in a moment."""
_OF_FILE = ("run", "started", "machine")
_OF_RECORD = (
    "case", "measure", "workload", "fingerprint", "verdict", "reason", "role", "compressor", "family", "model", "task",
    "hardware", "hardware_class", "outcome", "ended", "measures", "measured_on",
)  # fmt: skip
_COLUMNS = ", ".join([*(f"f.{name}" for name in _OF_FILE), *(f'r."{name}"' for name in _OF_RECORD)])
_AGED = "(SELECT *, row_number() OVER (ORDER BY coalesce(nullif(started, ''), run), run, name) AS age FROM file)"
"""Files with their place in time, from 1."""
_NEWEST = f"""WITH aged AS {_AGED},
newest AS (
    SELECT max(f.age * 4294967296 + r.seq) AS key FROM record r JOIN aged f ON r.file = f.id
    GROUP BY r."case", r.measure, r.workload, r.fingerprint)
SELECT {{}} FROM record r JOIN aged f ON r.file = f.id JOIN newest n ON n.key = f.age * 4294967296 + r.seq"""
"""Of every case, measure, workload and fingerprint the newest record."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A case record without its evidence, and what its run says. started, ended: ISO 8601, UTC, as recorded.
    machine: the name, for people. outcome: of the comparison with the baseline, None where there was none.
    accepted: whether a baseline accepts this very result. measures: name -> number, as in `CaseRecord`. measured_on:
    the hashes of the model, the examples and the metric, empty where they were not kept."""

    run: str
    started: str
    machine: str | None
    case: str
    measure: str
    workload: str | None
    fingerprint: str
    verdict: str
    reason: str | None
    role: str
    compressor: str
    family: str | None
    model: str
    task: str | None
    hardware: str
    hardware_class: str | None
    outcome: str | None
    ended: str | None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    accepted: bool = False
    measured_on: str = ""

    def number(self, name: str) -> Measure:
        """The number called `name`, all None where it was not recorded."""
        return self.measures.get(name, Measure(reason="not recorded"))


@dataclass(frozen=True)
class Series:
    """The results of one case, measured one way on one machine and on the same model and data, oldest first. name:
    which of the numbers. anew: whether the runs before were on another model or other data."""

    case: str
    measure: str
    name: str
    workload: str | None
    fingerprint: str
    results: tuple[Result, ...]
    anew: bool = False

    @property
    def paired(self) -> bool:
        """Whether the numbers were measured against the dense model; imported times are not."""
        return self.measure != UNPAIRED

    @property
    def values(self) -> list[Number | None]:
        """The number in each run, None where there was none."""
        return [result.number(self.name).value for result in self.results]


class Runs:
    """The runs at `location`, a folder or a URL, as they are when this is made. A context manager.

    index_at: the file of the index; default: in the user's cache. Raises ResultsError where there is no run.
    """

    def __init__(self, location: str | os.PathLike[str], index_at: Path | None = None) -> None:
        folder = RunFolder(location)
        files = folder.files()
        self.location = folder.location
        self._folder, self._files = folder, {file.name: file for file in files}
        self._scratch = tempfile.TemporaryDirectory(prefix="pressbench-query-")
        config: dict[str, Any] = {"autoinstall_known_extensions": "false", "temp_directory": self._scratch.name}
        self._connection = duckdb.connect(":memory:", config=config)
        try:
            self._connection.execute("SET enable_progress_bar = false")
            path = index_at or index.index_path(self.location)
            kept = index.attach(self._connection, path)
            current = {kept[f.name][0] for f in files if f.name in kept and kept[f.name][1] == f.stamp}
            fresh = [f for f in files if f.name not in kept or kept[f.name][1] != f.stamp]
            gone = sorted({number for number, _ in kept.values()} - current)
            self._connection.execute("ATTACH ':memory:' AS found")
            scanner = Scanner(self._connection, folder, "found", Path(self._scratch.name))
            first = max((number for number, _ in kept.values()), default=-1) + 1
            scanner.read(list(enumerate(fresh, first)))
            for table, key in (("file", "id"), ("record", "file")):
                dropped = f" WHERE NOT list_contains({gone}::INTEGER[], {key})" if gone else ""
                indexed = f"FROM kept.{table}{dropped} UNION ALL " if kept else ""
                self._connection.execute(f"CREATE TEMP VIEW {table} AS {indexed}FROM found.{table}")
            if sum(f.size for f in fresh) >= _KEEP_FROM:
                index.replace(self._connection, path, scanner.live)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and memory."""
        self._connection.close()
        self._scratch.cleanup()

    @property
    def problems(self) -> list[str]:
        """What could not be read, a line for each: file, line number and why."""
        found = self._connection.execute("SELECT unnest(problems) FROM file ORDER BY name").fetchall()
        return [text for (text,) in found]

    @property
    def records(self) -> int:
        """How many case records there are."""
        ((count,),) = self._connection.execute("SELECT count(*) FROM record").fetchall()
        return int(count)

    def cases(self) -> list[str]:
        """The names of all cases, sorted."""
        return [
            name for (name,) in self._connection.execute('SELECT DISTINCT "case" FROM record ORDER BY 1').fetchall()
        ]

    def history(self, case: str, measure: str | None = None, accepted: Accepted = NONE_ACCEPTED) -> list[Series]:
        """How the case came out in every run: one series for each measure, workload and fingerprint, and a new one
        where it was measured on another model or on other data than before.

        measure: `speed`, or a number such as `peak_memory_bytes`; None for all measures, with their headline
        numbers. Where a run measured a case more than once, the last record counts. accepted: the results
        to be marked, as `accepted_runs` of the baselines gives them. Raises ResultsError where there is no such
        case or measure.
        """
        wanted, name = _number(measure)
        found = self._results(
            f"""SELECT {_COLUMNS} FROM record r JOIN {_AGED} f ON r.file = f.id
            WHERE r."case" = ? AND (?::VARCHAR IS NULL OR r.measure = ?)
            QUALIFY row_number() OVER (PARTITION BY r.file, r.measure, r.workload ORDER BY r.seq DESC) = 1
            ORDER BY r.measure, r.workload, f.age""",
            [case, wanted, wanted],
        )
        if not found:
            raise ResultsError(self._unknown(case, wanted))
        series: dict[tuple[str, str | None, str], list[list[Result]]] = {}
        for one in found:
            if accepted.get((one.fingerprint, one.measure, one.case)) == one.run:
                one = dataclasses.replace(one, accepted=True)
            parts = series.setdefault((one.measure, one.workload, one.fingerprint), [[]])
            known = next((r.measured_on for r in reversed(parts[-1]) if r.measured_on), one.measured_on)
            if one.measured_on and one.measured_on != known:
                parts.append([])
            parts[-1].append(one)
        return [
            Series(case, of, name or _headline(of, part[-1]), workload, fingerprint, tuple(part), anew=number > 0)
            for (of, workload, fingerprint), parts in series.items()
            for number, part in enumerate(parts)
        ]

    def latest(self) -> list[Result]:
        """The newest record of every case, measure, workload and fingerprint, by name."""
        return self._results(
            f"""{_NEWEST.format(_COLUMNS)} ORDER BY r."case", r.measure, r.workload, r.fingerprint""",
            [],
        )

    def latest_runs(self) -> list[Run]:
        """The runs that the records of `latest` are from, read whole but for the cases: of these only the newest.
        Imported times, which no table has, are left out. Raises ResultsError where a run can be read no more."""
        wanted: dict[str, set[tuple[str, str, str | None]]] = {}
        query = _NEWEST.format('f.name, r."case", r.measure, r.workload')
        for name, *key in self._connection.execute(
            f"{query} WHERE r.measure <> ? ORDER BY f.age", [UNPAIRED]
        ).fetchall():
            wanted.setdefault(name, set()).add((key[0], key[1], key[2]))
        found = []
        for name, keys in wanted.items():
            run = run_of(self._folder.read(self._files[name]), Path(name))
            cases = (r for r in newest_of(run.cases) if (r.case, r.measure, r.workload) in keys)
            found.append(dataclasses.replace(run, cases=tuple(cases)))
        return found

    def _results(self, query: str, values: list[Any]) -> list[Result]:
        rows = self._connection.execute(query, values).fetchall()
        return [_result(dict(zip((*_OF_FILE, *_OF_RECORD), row, strict=True))) for row in rows]

    def _unknown(self, case: str, measure: str | None) -> str:
        known = self.cases()
        if case in known:
            return f"case {shown(case)!r} has no record of {measure}"
        near = difflib.get_close_matches(case, known, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(map(shown, near))}" if near else f"there are {len(known)} cases"
        return f"no case {shown(case)!r} in {shown(self.location)}; {hint}"


def _headline(measure: str, result: Result) -> str:
    """The number that stands for a measure, as this result tells it."""
    return quality_in(result.measures).value if measure == "accuracy" else HEADLINE.get(measure, measure)


def history(
    runs: str | os.PathLike[str], case: str, measure: str | None = None, accepted: Accepted = NONE_ACCEPTED
) -> list[Series]:
    """`Runs.history` of the runs in a folder or under a URL."""
    with Runs(runs) as found:
        return found.history(case, measure, accepted)


def latest(runs: str | os.PathLike[str]) -> list[Result]:
    """`Runs.latest` of the runs in a folder or under a URL."""
    with Runs(runs) as found:
        return found.latest()


def _number(asked: str | None) -> tuple[str | None, str | None]:
    """(measure, number) of what a user asks for: either one's name, or None for all; no number, the headline."""
    if asked is None:
        return None, None
    if asked in HEADLINE:
        return asked, None
    for measure, names in MEASURE_NAMES.items():
        if asked in names:
            return measure, asked
    known = [*HEADLINE, *(name for names in MEASURE_NAMES.values() for name in names if name not in HEADLINE)]
    near = difflib.get_close_matches(asked, known, n=1)
    hint = f"nearest: {near[0]}" if near else f"use one of {', '.join(known)}"
    raise ResultsError(f"no measure {shown(asked)!r}; {hint}")


def _result(row: dict[str, Any]) -> Result:
    measures = row.pop("measures") or {}
    return Result(**row, measures={name: Measure(**(m or {})) for name, m in measures.items()})
