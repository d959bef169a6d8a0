"""The lock that the process which writes a file holds, and by which others know that it is being written."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(file: int, wait: bool = False) -> bool:
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


def is_being_written(path: Path) -> bool:
    """Whether a process that is alive writes the run in `path`. Always False where files cannot be locked."""
    if fcntl is None:
        return False
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not lock(file)
    finally:
        os.close(file)
