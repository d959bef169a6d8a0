"""Earlier results of a case on the same machine, oldest first, read once and only as far back as counts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from results.baseline import Key, usable
from results.record import CaseRecord, RunHeader, from_json
from results.store import list_runs, read_run
from results.strict_json import ResultsError, decode
from results.tally import latest

RUNS = 20
"""How many runs of one fingerprint are looked at: older ones say little about today's drivers and load."""


@dataclass(frozen=True)
class History:
    """records: (measure, case) -> the usable records of earlier runs, oldest first. runs: the ids that were read."""

    records: dict[Key, list[CaseRecord]]
    runs: tuple[str, ...]

    def of(self, measure: str, case: str, since: str = "") -> list[CaseRecord]:
        """The records of one case; since: only of runs started after the run with this id."""
        return [record for record in self.records.get((measure, case), []) if not since or record.run > since]


def read_history(directory: Path, fingerprint: str, *, but: Collection[str] = ()) -> History:
    """The history of a fingerprint from the run files in `directory`. but: run ids to leave out.

    A file that cannot be read has no part in it: the table and `--resume` say what is wrong with one.
    """
    paths: list[Path] = []
    for path in reversed(list_runs(directory)):
        if path.stem not in but and _fingerprint(path) == fingerprint:
            paths.append(path)
        if len(paths) == RUNS:
            break
    records: dict[Key, list[CaseRecord]] = {}
    for path in reversed(paths):
        for record in latest(read_run(path).cases):
            if usable(record):
                records.setdefault((record.measure, record.case), []).append(record)
    return History(records, tuple(path.stem for path in reversed(paths)))


def _fingerprint(path: Path) -> str | None:
    """From the first line alone: a year of runs must not be read to find twenty."""
    try:
        with open(path, "rb") as file:
            header = from_json(decode(file.readline()), "")
    except (OSError, ResultsError):
        return None
    return str(header.machine.get("hash")) if isinstance(header, RunHeader) else None
