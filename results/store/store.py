"""Where runs are kept: one JSON Lines file a run. How one is read, and how those in a folder are found.

Reading never stops at a bad line and never passes over one: what cannot be read is listed in `Run.damaged`. Files are
written by `run_writer.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from results.store.file_lock import is_being_written
from results.store.record import CaseRecord, Record, RunEnd, RunHeader, SchemaError, from_json
from results.store.strict_json import ResultsError, decode
from results.store.text import shown, shown_path

__all__ = ["ResultsError", "Run", "list_runs", "new_run_id", "read_run", "resolve_run", "resumable"]

SUFFIX = ".jsonl"
LATEST = "latest"
"""What stands for the latest run's id, where no run is called so."""
_LISTED = 8
"""How many runs are named where a part of an id is of several."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4,}")


@dataclass(frozen=True)
class Run:
    """One run as its file has it. end: None for a run that was interrupted or is still going.
    damaged: (line number from 1, why it could not be read)."""

    path: Path
    header: RunHeader
    cases: tuple[CaseRecord, ...]
    end: RunEnd | None
    damaged: tuple[tuple[int, str], ...]


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run_id() -> str:
    """A run id such as `20261121T221530Z-3f2a`: UTC time, then four random hexadecimal digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def read_run(path: Path) -> Run:
    """The run in `path`, with every line that can be read.

    Raises ResultsError where the file cannot be opened, holds no record at all, or was written by a newer
    pressbench. Where only the header is lost, what the cases say of their run stands in for it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None
    return run_of(content, path)


def run_of(content: bytes, path: Path) -> Run:
    """The run in the content of a run file, as `read_run` gives it. path: for messages."""
    lines = content.split(b"\n")
    complete = len(lines) - 1  # what follows the last newline is empty, or a line cut short
    header: RunHeader | None = None
    cases: list[CaseRecord] = []
    end: RunEnd | None = None
    damaged: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line and number > complete:
            continue
        try:
            record = _record(line, f"{shown_path(path)} line {number}")
            known = header or (cases[0] if cases else record)
            if record.run != known.run:
                raise ResultsError(f"a record of run {record.run!r}, not {known.run!r}")
            if end is not None:
                raise ResultsError("stands after the run's end")
            if isinstance(record, RunHeader):
                if header or cases:
                    raise ResultsError("a second run line" if header else "the run line is not the first")
                header = record
            elif isinstance(record, RunEnd):
                end = record
            else:
                cases.append(record)
        except SchemaError:
            raise
        except ResultsError as error:
            cut = "cut short, " if number > complete else ""
            damaged.append((number, f"{cut}{error}".removeprefix(f"{shown_path(path)} line {number}: ")))
    if header is None:
        if not cases:
            why = f"line {damaged[0][0]}: {damaged[0][1]}" if damaged else "it is empty"
            raise ResultsError(f"{shown_path(path)}: not a run: {why}")
        header = RunHeader(run=cases[0].run, started="")
        if not damaged or damaged[0][0] != 1:
            damaged.insert(0, (1, "expected the run line here"))
    return Run(path, header, tuple(cases), end, tuple(damaged))


def list_runs(directory: Path) -> list[Path]:
    """The run files in `directory`, oldest first by the time in their names; other names come before."""
    found = [p for p in directory.glob(f"*{SUFFIX}") if p.is_file() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (bool(RUN_ID.fullmatch(p.stem)), p.stem[:16], _age(p), p.stem))


def resumable(directory: Path) -> Run:
    """The latest run in `directory` that was interrupted. Raises ResultsError where there is none."""
    for path in reversed(list_runs(directory)):
        with contextlib.suppress(ResultsError):  # what is no run at all cannot be continued
            stored = read_run(path)
            if stored.end is None and not is_being_written(path):
                return stored
    raise ResultsError(f"no interrupted run in {shown_path(directory)}: there is nothing to resume")


def resolve_run(directory: Path, name: str | None) -> Path:
    """The file of the run called `name` in `directory`, the latest run where `name` is None or "latest".

    The beginning or the end of a run's id will do where no other run has it too. A name with a path separator in
    it is a path to a `.jsonl` file, taken only if that exists. Raises ResultsError otherwise, with the runs that
    may be meant.
    """
    runs = list_runs(directory)
    if name is not None and ("/" in name or "\\" in name):
        if name.endswith(SUFFIX) and os.path.isfile(name):
            return Path(name)
        raise ResultsError(f"{shown(name)}: no such run file (expected an existing file ending in {SUFFIX})")
    if not runs:
        raise ResultsError(f"no runs in {shown_path(directory)}: run `pytest benchmarks` first")
    if name is None:
        return runs[-1]
    by_name = {path.stem: path for path in runs}
    wanted = name.removesuffix(SUFFIX)
    if found := by_name.get(wanted):
        return found
    if name == LATEST:
        return runs[-1]
    alike = [run for run in by_name if wanted and (run.startswith(wanted) or run.endswith(wanted))]
    if len(alike) > 1:
        listed = ", ".join(map(shown, alike[-_LISTED:]))
        more = f" and {len(alike) - _LISTED} older" if len(alike) > _LISTED else ""
        raise ResultsError(
            f"run {shown(name)!r} may be one of {len(alike)} in {shown_path(directory)}: {listed}{more}; "
            "give more of its id"
        )
    if not alike:
        near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(map(shown, near))}" if near else f"the latest is {shown(runs[-1].stem)}"
        raise ResultsError(f"no run {shown(name)!r} in {shown_path(directory)}; {hint}")
    return by_name[alike[0]]


def _record(line: bytes, where: str) -> Record:
    return from_json(decode(line), where)


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed since it was listed
        return 0
