"""Where runs are kept: one JSON Lines file a run, only ever appended to, each line on disk before the next.

A run that is killed loses at most the line it was writing, and can be continued: `RunWriter.resume`. Reading
never stops at a bad line and never passes over one: what cannot be read is listed in `Run.damaged`. One writer a
file, which a lock on it ensures; several processes may write several runs into one folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from results.store.record import CaseRecord, Record, RunEnd, RunHeader, SchemaError, from_json, to_line
from results.store.strict_json import Number, ResultsError, decode
from results.store.tally import tally
from results.store.text import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ResultsError", "Run", "RunWriter", "list_runs", "new_run_id", "read_run", "resolve_run", "resumable"]

SUFFIX = ".jsonl"
CUT = ".cut"
"""Added to a run's file name: where the beginning of a line that a killed run left goes when it is continued."""
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


class RunWriter:
    """Writes one run's file in `directory`, which is made where missing.

        with RunWriter(directory, header) as writer:
            writer.write(record)
            writer.finish(seconds={"compress": 74.0})

    Leaving the block without `finish` leaves a run that reads as interrupted. Raises ResultsError where
    the run exists already, where a record is of another run or cannot be stored, and where the disk
    refuses; a line that could be written only in part is taken back.
    """

    def __init__(self, directory: Path, header: RunHeader) -> None:
        if not RUN_NAME.fullmatch(header.run):
            raise ResultsError(f"run id {header.run!r}: use letters, digits, '.', '_' and '-', 100 at most")
        self.header = header
        self.path = directory / f"{header.run}{SUFFIX}"
        self._cases: list[CaseRecord] = []
        self._ended = False
        first = to_line(header)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{_name(directory)}: cannot be made: {error.strerror}") from None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            raise ResultsError(f"{_name(self.path)}: run {header.run} exists already") from None
        except OSError as error:
            raise ResultsError(f"{_name(self.path)}: cannot be made: {error.strerror}") from None
        _lock(self._file, wait=True)  # nobody else holds it, but for a moment to ask whether it is being written
        try:
            self._append(first)
        except BaseException:  # an empty file would pass for the latest run
            self.path.unlink(missing_ok=True)
            self.close()
            raise
        _sync_directory(directory)

    @classmethod
    def resume(cls, stored: Run) -> RunWriter:
        """Go on with an interrupted run, at the end of its file. The beginning of a line that the run did not live
        to finish is moved to a file beside it.

        Raises ResultsError where the run has ended, or another process is writing it, and where the disk refuses.
        """
        if stored.end is not None:
            raise ResultsError(f"run {stored.header.run} has ended, there is nothing to resume")
        if any(number == 1 for number, _ in stored.damaged):
            raise ResultsError(f"{_name(stored.path)}: its first line is lost, so nobody knows what it set out to do")
        writer = cls.__new__(cls)
        writer.header, writer.path, writer._ended = stored.header, stored.path, False
        writer._cases = [dataclasses.replace(record, evidence={}) for record in stored.cases]
        try:
            writer._file = os.open(stored.path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise ResultsError(f"{_name(stored.path)}: cannot be written: {error.strerror}") from None
        try:
            if not _lock(writer._file):
                raise ResultsError(f"run {stored.header.run} is still going, in another process")
            if read_run(stored.path) != stored:
                raise ResultsError(f"run {stored.header.run} was written to by another process just now; try again")
            writer._set_aside()
        except BaseException as error:
            writer.close()
            if isinstance(error, OSError):
                raise ResultsError(f"{_name(stored.path)}: cannot be written: {error.strerror}") from None
            raise
        return writer

    def write(self, record: CaseRecord | RunEnd) -> None:
        """Append one record and wait until it is on disk. After a RunEnd nothing more can be written."""
        if self._file < 0 or self._ended:
            raise ResultsError(f"{_name(self.path)}: the run is closed, nothing can be added")
        if record.run != self.header.run:
            raise ResultsError(f"a record of run {record.run!r} does not belong in run {self.header.run!r}")
        self._append(to_line(record))
        if isinstance(record, RunEnd):
            self._ended = True
        else:
            self._cases.append(dataclasses.replace(record, evidence={}))  # enough to count by

    def finish(self, seconds: Mapping[str, Number] | None = None, least: Mapping[str, Number] | None = None) -> RunEnd:
        """Write the end line, with the counts of what was written. seconds, least: see `RunEnd`."""
        count = tally(self.header, self._cases)
        end = RunEnd(
            run=self.header.run,
            ended=now(),
            expected=count.expected,
            executed=count.executed,
            counts=count.counts,
            seconds=seconds or {},
            least=least or {},
        )
        self.write(end)
        return end

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_aside(self) -> None:
        """Move what follows the last newline to the file beside this one: a line added to it would be lost too."""
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if cut := content[complete:]:
            with self.path.with_name(self.path.name + CUT).open("ab") as file:
                file.write(cut + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.ftruncate(self._file, complete)

    def _append(self, line: bytes) -> None:
        start = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except BaseException as error:
            if 0 < written < len(line):  # a part of a line would spoil the next one too
                os.ftruncate(self._file, start)
            if isinstance(error, OSError):
                raise ResultsError(f"{_name(self.path)}: cannot be written: {error.strerror}") from None
            raise


def read_run(path: Path) -> Run:
    """The run in `path`, with every line that can be read.

    Raises ResultsError where the file cannot be opened, holds no record at all, or was written by a newer
    pressbench. Where only the header is lost, what the cases say of their run stands in for it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{_name(path)}: cannot be read: {error.strerror}") from None
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
            record = _record(line, f"{_name(path)} line {number}")
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
            damaged.append((number, f"{cut}{error}".removeprefix(f"{_name(path)} line {number}: ")))
    if header is None:
        if not cases:
            why = f"line {damaged[0][0]}: {damaged[0][1]}" if damaged else "it is empty"
            raise ResultsError(f"{_name(path)}: not a run: {why}")
        header = RunHeader(run=cases[0].run, started="")
        if not damaged or damaged[0][0] != 1:
            damaged.insert(0, (1, "expected the run line here"))
    return Run(path, header, tuple(cases), end, tuple(damaged))


def list_runs(directory: Path) -> list[Path]:
    """The run files in `directory`, oldest first by the time in their names; other names come before."""
    found = [p for p in directory.glob(f"*{SUFFIX}") if p.is_file() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (bool(RUN_ID.fullmatch(p.stem)), p.stem[:16], _age(p), p.stem))


def is_being_written(path: Path) -> bool:
    """Whether a process that is alive writes the run in `path`. Always False where files cannot be locked."""
    if fcntl is None:
        return False
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(file)
    finally:
        os.close(file)


def resumable(directory: Path) -> Run:
    """The latest run in `directory` that was interrupted. Raises ResultsError where there is none."""
    for path in reversed(list_runs(directory)):
        with contextlib.suppress(ResultsError):  # what is no run at all cannot be continued
            stored = read_run(path)
            if stored.end is None and not is_being_written(path):
                return stored
    raise ResultsError(f"no interrupted run in {_name(directory)}: there is nothing to resume")


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
        raise ResultsError(f"no runs in {_name(directory)}: run `pytest benchmarks` first")
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
            f"run {shown(name)!r} may be one of {len(alike)} in {_name(directory)}: {listed}{more}; give more of its id"
        )
    if not alike:
        near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(map(shown, near))}" if near else f"the latest is {shown(runs[-1].stem)}"
        raise ResultsError(f"no run {shown(name)!r} in {_name(directory)}; {hint}")
    return by_name[alike[0]]


def _lock(file: int, wait: bool = False) -> bool:
    """Take the lock of an open file for as long as it is open; False where another process has it. wait: until then."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _record(line: bytes, where: str) -> Record:
    return from_json(decode(line), where)


def _name(path: Path) -> str:
    return shown(str(path))


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed since it was listed
        return 0


def _sync_directory(directory: Path) -> None:
    """Make the new file's name last as well as its content; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
