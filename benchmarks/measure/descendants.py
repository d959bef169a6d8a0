"""The processes that a worker has started, by whatever way: what memory and time they take, and their end.

A worker leads a session of its own and, on Linux, is given the orphans below it, so that a process that puts
itself in the background is still found. What is seen is remembered, since a worker that dies takes the list of its
children with it.
Does not find: a process in a session of its own whose worker died within `LOOK_SECONDS` of starting it.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import psutil

LOOK_SECONDS = 0.5
"""The time between two looks through the machine's processes, which take some milliseconds each."""
_SUBREAPER = 36  # of prctl(2)


def lead_session() -> None:
    """In the worker: lead a session, adopt orphans, end with the run, and be the first that a machine without memory
    ends. Adopting and the last are for Linux only."""
    with contextlib.suppress(OSError):  # it leads one already
        os.setsid()
    threading.Thread(target=_end_with_run, daemon=True).start()
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _end_with_run() -> None:
    """A run that is killed with -9 closes no pipe of a worker that is busy, and must leave nothing that computes."""
    run = multiprocessing.parent_process()
    if run is not None:
        wait([run.sentinel])
        os.killpg(0, signal.SIGKILL)


class Descendants:
    """The worker `pid` and all below it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[int, psutil.Process] = {}
        try:
            self._worker: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:  # it died at once
            self._worker = None

    def look(self) -> None:
        """Remember what runs below the worker now."""
        if self._worker is not None:
            with contextlib.suppress(psutil.Error):
                self._seen |= {process.pid: process for process in self._worker.children(recursive=True)}

    def taken_bytes(self) -> int:
        """Memory of the worker and of all that were seen below it that the system cannot have back: files that are
        mapped, as weights are that were not changed, are left out where it tells. Pages they share count for each."""
        total = 0
        for process in (self._worker, *self._seen.values()):
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    total += _taken(process)
        return total

    def private_bytes(self) -> int:
        """Memory of the worker and of all that were seen below it that no file backs: what stays when files that were
        mapped are left out, of which more is resident the more of it was read."""
        total = 0
        for process in (self._worker, *self._seen.values()):
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    found = process.memory_info()
                    total += found.rss - getattr(found, "shared", 0)
        return total

    def peak_bytes(self) -> int:
        """The most that the worker ever held, and what those below it hold now, pages that they share counted in parts
        where the system tells."""
        self.look()
        total = _most_held(self._worker)
        for process in self._seen.values():
            with contextlib.suppress(psutil.Error):
                found = process.memory_full_info()
                total += int(getattr(found, "pss", 0) or found.uss)
        return total

    def processor_seconds(self) -> float:
        """Processor time of the worker and of all that were seen below it, those that have ended left out."""
        seconds = 0.0
        for process in (self._worker, *self._seen.values()):
            if process is not None:
                with contextlib.suppress(psutil.Error, OSError):
                    seconds += _processor_seconds(process)
        return seconds

    def kill(self) -> None:
        """End all below the worker, wherever they went; the worker itself is the caller's to end."""
        self.look()
        for process in [*self._seen.values(), *self._of_session()]:
            with contextlib.suppress(psutil.Error):  # it is gone, or its id is another's by now
                process.kill()
        self._seen.clear()

    def _of_session(self) -> list[psutil.Process]:
        found = []
        if hasattr(os, "getsid"):
            for pid in psutil.pids():
                with contextlib.suppress(OSError, psutil.Error):
                    if pid != self._pid and os.getsid(pid) == self._pid:
                        found.append(psutil.Process(pid))
        return found


def _processor_seconds(process: psutil.Process) -> float:
    """User and system time of all its threads: to the nanosecond where there are clocks of other processes."""
    if sys.platform == "linux":
        return time.clock_gettime((~process.pid << 3) | 2)  # clock_getcpuclockid(3)
    return sum(process.cpu_times()[:2])


def _most_held(process: psutil.Process | None) -> int:
    """The largest resident set of a process so far, where the system tells; else what it holds now."""
    if process is None:
        return 0
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _taken(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        return 1024 * sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", status, re.M)))
    except OSError:
        return int(process.memory_info().rss)
