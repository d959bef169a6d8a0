"""Earlier results of a case on the same machine, oldest first, read once and only as far back as counts."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from results.history.comparable import Key, usable
from results.store.record import CaseRecord, RunHeader, from_json
from results.store.store import list_runs, read_run
from results.store.strict_json import ResultsError, decode
from results.store.tally import latest

RUNS = 20
"""How many runs of one fingerprint are looked at: older ones say little about today's drivers and load."""
LAST = 5
"""Of how many of them the time a case takes is taken: caches and code change."""


@dataclass(frozen=True)
class History:
    """records: (measure, case) -> the usable records of earlier runs, oldest first. runs: the ids that were read.
    seconds: (measure, case) -> what it usually took in the last of them, whatever came of it."""

    records: dict[Key, list[CaseRecord]]
    runs: tuple[str, ...]
    seconds: Mapping[Key, float] = field(default_factory=dict)

    def of(self, measure: str, case: str, since: str = "") -> list[CaseRecord]:
        """The records of one case; since: only of runs started after the run with this id."""
        return [record for record in self.records.get((measure, case), []) if not since or record.run > since]


def read_history(directory: Path, fingerprint: str, *, but: Collection[str] = ()) -> History:
    """The history of a fingerprint from the run files in `directory`. but: run ids to leave out.

    A file that cannot be read has no part in it: the table and `--resume` say what is wrong with one.
    """
    paths: list[Path] = []
    for path in reversed(list_runs(directory)):
        if path.stem not in but and fingerprint_in(path) == fingerprint:
            paths.append(path)
        if len(paths) == RUNS:
            break
    records: dict[Key, list[CaseRecord]] = {}
    spent: dict[Key, list[float]] = {}
    for path in reversed(paths):
        for record in latest(read_run(path).cases):
            if (seconds := record.seconds.get("case")) is not None:
                spent.setdefault((record.measure, record.case), []).append(float(seconds))
            if usable(record):
                records.setdefault((record.measure, record.case), []).append(record)
    usual = {key: statistics.median(found[-LAST:]) for key, found in spent.items()}
    return History(records, tuple(path.stem for path in reversed(paths)), usual)


def run_before(path: Path, fingerprint: str) -> Path | None:
    """The newest run older than the one in `path`, in the same folder and of this fingerprint; None without one."""
    every = list_runs(path.parent)
    older = every[: every.index(path)] if path in every else []
    return next((earlier for earlier in reversed(older) if fingerprint_in(earlier) == fingerprint), None)


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint that a run's file begins with; None where it has none. From the first line alone: a year of
    runs must not be read to find twenty."""
    try:
        with open(path, "rb") as file:
            header = from_json(decode(file.readline()), "")
    except (OSError, ResultsError):
        return None
    return str(header.machine.get("hash")) if isinstance(header, RunHeader) else None
