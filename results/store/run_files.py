"""Where run files lie: in a folder, or under any URL that fsspec opens, such as `s3://bucket/runs`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.store.file_lock import is_being_written
from results.store.store import SUFFIX
from results.store.strict_json import ResultsError
from results.store.text import shown

_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems call the thing that changes when a file does, the most certain first."""


@dataclass(frozen=True)
class RunFile:
    """name: without folders. path: what opens it, a path or a URL. size: bytes. stamp: size and time of the last
    change, or the ETag: another one whenever the content may be another."""

    name: str
    path: str
    size: int
    stamp: str


class RunFolder:
    """The run files at `location`, a folder, a single run file, or the URL of either."""

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = os.fspath(location)
        self.filesystem: Any = None
        """The fsspec file system; None where the files are local."""
        if re.match(r"file:/*", self.location):
            self.location = re.sub(r"^file:/*", "/", self.location)
        elif "://" in self.location:
            self.filesystem, self._root = _opened(self.location)
        if self.filesystem is None:
            self.location = os.path.abspath(self.location)

    def files(self) -> list[RunFile]:
        """The run files as they are now, by name. Raises ResultsError where there is no such place, or no run in it."""
        found = self._local() if self.filesystem is None else self._remote()
        if not found:
            raise ResultsError(f"no runs in {shown(self.location)}: run `pytest benchmarks` first")
        return sorted(found, key=lambda file: file.name)

    def read(self, file: RunFile) -> bytes:
        """All of a file. Raises ResultsError where it cannot be had."""
        try:
            if self.filesystem is None:
                return Path(file.path).read_bytes()
            return bytes(self.filesystem.cat_file(file.path))
        except Exception as error:  # each file system has errors of its own
            raise ResultsError(f"{shown(file.name)}: cannot be read: {_why(error)}") from None

    def ends_with_a_line(self, file: RunFile) -> bool:
        """Whether the last line is whole. False where the file cannot be opened: `read` says why."""
        try:
            if self.filesystem is None:
                with open(file.path, "rb") as opened:
                    opened.seek(max(file.size - 1, 0))
                    return opened.read(1) == b"\n"
            return bool(self.filesystem.cat_file(file.path, start=max(file.size - 1, 0), end=file.size) == b"\n")
        except Exception:  # each file system has errors of its own
            return False

    def is_live(self, file: RunFile) -> bool:
        """Whether the file is still being written, as far as that can be known: only where it is local."""
        return self.filesystem is None and is_being_written(Path(file.path))

    def _local(self) -> list[RunFile]:
        if self.location.endswith(SUFFIX) and os.path.isfile(self.location):
            return [_stamped(os.path.basename(self.location), self.location)]
        try:
            with os.scandir(self.location) as entries:
                names = [entry.name for entry in entries if _is_run(entry.name) and entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ResultsError(f"{shown(self.location)}: cannot be listed: {error.strerror}") from None
        found = []
        for name in names:
            try:
                found.append(_stamped(name, os.path.join(self.location, name)))
            except FileNotFoundError:  # removed since it was listed
                continue
        return found

    def _remote(self) -> list[RunFile]:
        try:
            self.filesystem.invalidate_cache()
            entries = self.filesystem.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        except Exception as error:  # no permission, no network, no such bucket
            raise ResultsError(f"{shown(self.location)}: cannot be listed: {_why(error)}") from None
        found = []
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if entry.get("type") == "file" and _is_run(name):
                path = self.filesystem.unstrip_protocol(entry["name"])
                found.append(RunFile(name, path, int(entry.get("size") or 0), _stamp(entry)))
        return found


def _is_run(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _stamped(name: str, path: str) -> RunFile:
    state = os.stat(path)
    return RunFile(name, path, state.st_size, f"{state.st_size} {state.st_mtime_ns}")


def _stamp(entry: Mapping[str, Any]) -> str:
    changed = next((entry[key] for key in _STAMPS if entry.get(key) is not None), "")
    return f"{entry.get('size')} {changed}"


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:  # fsspec says which package is missing
        raise ResultsError(f"{shown(url)}: {_why(error)}") from None
    except Exception as error:  # an unknown protocol, or options that the file system does not take
        raise ResultsError(f"{shown(url)}: cannot be opened: {_why(error)}") from None
    return filesystem, str(root)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return shown(lines[0])[:200] if lines else type(error).__name__
