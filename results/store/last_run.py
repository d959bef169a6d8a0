"""Which run this user made last, wherever it was written: its place is noted when it begins.

The note is a convenience. It is in `$PRESSBENCH_STATE`, else in the user's folder for state; where it cannot be written
or read, or names nothing that is there, it is as if there were none.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from results.store.store import RUN_ID, RUN_NAME, SUFFIX

FILE = "last-run.json"
_MOST = 16_384
"""Bytes of a note."""


@dataclass(frozen=True)
class Noted:
    """path: the run's file, absolute. there: whether it is still."""

    path: Path
    there: bool


def place() -> Path:
    """The folder that the note is in."""
    return Path(os.environ.get("PRESSBENCH_STATE") or platformdirs.user_state_path("pressbench"))


def note(path: Path) -> None:
    """Note that the run in `path` has begun."""
    with contextlib.suppress(OSError):
        place().mkdir(parents=True, exist_ok=True)
        content = json.dumps({"folder": str(path.parent.absolute()), "run": path.stem})
        with tempfile.NamedTemporaryFile("w", dir=place(), prefix=f".{FILE}-", delete=False, encoding="utf-8") as file:
            file.write(content)
        os.replace(file.name, place() / FILE)


def noted() -> Noted | None:
    """The run that was noted last; None where there is no note that can be understood."""
    try:
        with open(place() / FILE, "rb") as file:
            found = json.loads(file.read(_MOST))
        folder, run = found["folder"], found["run"]
        if not (isinstance(folder, str) and isinstance(run, str) and RUN_NAME.fullmatch(run)):
            return None
        if not Path(folder).is_absolute():
            return None
        path = Path(folder).resolve() / f"{run}{SUFFIX}"
        return Noted(path, path.is_file())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget() -> None:
    """Take the note away."""
    with contextlib.suppress(OSError):
        (place() / FILE).unlink()


def is_newer(path: Path, other: Path) -> bool:
    """Whether the run in `path` began after the one in `other`: by their ids, or their files where one has no id."""
    if RUN_ID.fullmatch(path.stem) and RUN_ID.fullmatch(other.stem):
        return path.stem[:16] > other.stem[:16]
    try:
        return path.stat().st_mtime_ns > other.stat().st_mtime_ns
    except OSError:
        return False
