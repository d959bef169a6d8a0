"""Writes a run's file: one JSON Lines file a run, only ever appended to, each line on disk before the next.

A run that is killed loses at most the line it was writing, and can be continued: `RunWriter.resume`. One writer a
file, which a lock on it ensures; several processes may write several runs into one folder.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from results.store.file_lock import lock
from results.store.record import CaseRecord, RunEnd, RunHeader, to_line
from results.store.store import RUN_NAME, SUFFIX, Run, now, read_run
from results.store.strict_json import Number, ResultsError
from results.store.tally import tally
from results.store.text import shown_path

CUT = ".cut"
"""Added to a run's file name: where the beginning of a line that a killed run left goes when it is continued."""


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
            raise ResultsError(f"{shown_path(directory)}: cannot be made: {error.strerror}") from None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            raise ResultsError(f"{shown_path(self.path)}: run {header.run} exists already") from None
        except OSError as error:
            raise ResultsError(f"{shown_path(self.path)}: cannot be made: {error.strerror}") from None
        lock(self._file, wait=True)  # nobody else holds it, but for a moment to ask whether it is being written
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
            raise ResultsError(
                f"{shown_path(stored.path)}: its first line is lost, so nobody knows what it set out to do"
            )
        writer = cls.__new__(cls)
        writer.header, writer.path, writer._ended = stored.header, stored.path, False
        writer._cases = [dataclasses.replace(record, evidence={}) for record in stored.cases]
        try:
            writer._file = os.open(stored.path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise ResultsError(f"{shown_path(stored.path)}: cannot be written: {error.strerror}") from None
        try:
            if not lock(writer._file):
                raise ResultsError(f"run {stored.header.run} is still going, in another process")
            if read_run(stored.path) != stored:
                raise ResultsError(f"run {stored.header.run} was written to by another process just now; try again")
            writer._set_aside()
        except BaseException as error:
            writer.close()
            if isinstance(error, OSError):
                raise ResultsError(f"{shown_path(stored.path)}: cannot be written: {error.strerror}") from None
            raise
        return writer

    def write(self, record: CaseRecord | RunEnd) -> None:
        """Append one record and wait until it is on disk. After a RunEnd nothing more can be written."""
        if self._file < 0 or self._ended:
            raise ResultsError(f"{shown_path(self.path)}: the run is closed, nothing can be added")
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
                raise ResultsError(f"{shown_path(self.path)}: cannot be written: {error.strerror}") from None
            raise


def _sync_directory(directory: Path) -> None:
    """Make the new file's name last as well as its content; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
