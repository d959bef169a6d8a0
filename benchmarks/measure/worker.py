"""A worker: one process that does one thing at a time for the suite, and whose death is only an error.

Workers start from a forkserver that has already imported torch and transformers, models' common parts
included: 10 ms a worker and 0.5 s to load a small model in it, where a fresh process takes 4 s and 2 s.
A crash, a hang, a kill or too much memory becomes `WorkerError` in the parent, and the run goes on. What the
worker started ends with it. What it prints goes to a log, of which the end is told when it fails; temporary files
go to a folder that is removed with it.
Does not protect from: files that the code in it chooses to write elsewhere, the network, or memory that it takes
faster than `TICK_SECONDS` shows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.hardware.instructions import check, held
from benchmarks.measure import memory
from benchmarks.measure.descendants import LOOK_SECONDS, Descendants, lead_session
from benchmarks.measure.enclosure import Enclosure
from benchmarks.measure.forkserver import context
from benchmarks.measure.products import Did, nowhere
from compressors import plugin_import
from compressors.interface import PressbenchError, Progress, Unsupported, no_progress

TICK_SECONDS = 0.1
"""The time between two looks at a worker's memory while it is busy. A slot that is timed is over before the first."""
LOG_END = 2000
"""Characters of the log that an error carries."""
PRINTED = "printed:"
"""The line of an error's detail between the traceback, if there is one, and the end of the log."""
TOLD = {"unsupported": Unsupported, "told": PressbenchError}
"""The errors that mean the same on both sides: what the worker sends -> what the parent raises."""


class WorkerError(Exception):
    """The work in a worker failed. kind: "raised", "died", "hung" or "memory"; the message is
    one line. detail: the traceback if there is one, and the end of what was printed. seconds: of one that "hung", how
    long it was waited for."""

    def __init__(self, kind: str, message: str, detail: str = "", seconds: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail
        self.seconds = seconds


class Worker:
    """One process. `call` runs a function in it, with a dictionary that lives as long as the worker as
    its first argument; the function and its arguments must be importable and picklable."""

    def __init__(
        self,
        name: str,
        *,
        cpus: Sequence[int] | None = None,
        threads: int = 1,
        memory_limit: int | None = None,
        enclosure: Enclosure | None = None,
        held_to: str | None = None,
        did: Did = nowhere,
    ) -> None:
        """memory_limit: bytes of the worker and of what it starts that no file backs, None for no limit. enclosure:
        what it may see of the cache, None for all. held_to: the strongest instructions that it may use, None for all,
        see `benchmarks.hardware.instructions`; it takes seconds longer to start. did: is told what functions compute
        that have a parameter of that name."""
        self.name = name
        self._did = did
        self.memory_limit = memory_limit
        self._folder = Path(tempfile.mkdtemp(prefix="pressbench-worker-"))
        self._log = self._folder / "log"
        self._pipe, theirs = context.Pipe()
        with held(held_to) if held_to else contextlib.nullcontext(context) as made:
            fatal, own = plugin_import.fatal(), list(cpus) if cpus else None
            self._process = made.Process(
                target=_serve,
                args=(theirs, str(self._folder), own, threads, fatal, enclosure, held_to),
                daemon=True,
            )
            self._process.start()
        theirs.close()
        self._descendants = Descendants(int(self._process.pid or 0))

    def call(
        self, function: Callable[..., Any], *args: Any, timeout: float = 600.0, progress: Progress = no_progress
    ) -> Any:
        """Run `function(state, *args)` in the worker and return what it returns.

        A function with a parameter `progress` or `did` is given one. Raises PressbenchError (Unsupported) where the
        function did, WorkerError for anything else that went wrong; after a hang, a death or too much memory the
        worker is gone.
        """
        if self._pipe.closed:
            raise WorkerError("died", f"{self.name}: the process was stopped before")
        deadline = time.monotonic() + timeout
        try:
            self._pipe.send((function, args))
            while True:
                self._await(deadline, timeout)
                kind, *rest = self._pipe.recv()
                if kind == "progress":
                    progress(*rest)
                elif kind == "did":
                    self._did(rest[0])
                elif kind == "result":
                    return rest[0]
                elif kind in TOLD:
                    raise TOLD[kind](rest[0])
                else:
                    raise WorkerError("raised", f"{self.name}: {rest[0]}", self._detail(rest[1]))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5)
            how, detail = self._how_it_ended(), self._detail()
            self.kill()
            raise WorkerError("died", f"{self.name}: the process {how}", detail) from None
        except KeyboardInterrupt:
            self.kill()
            raise

    def look(self) -> None:
        """Look for what the worker has started since, which takes some milliseconds: for the three below."""
        self._descendants.look()

    def processor_seconds(self) -> float:
        """Processor time that it and what it was seen to start have taken so far."""
        return self._descendants.processor_seconds()

    def private_bytes(self) -> int:
        """Memory that it and what it started hold now, files that are mapped left out, in bytes."""
        self._descendants.look()
        return self._descendants.private_bytes()

    def peak_bytes(self) -> int:
        """The most that it ever held, with what those hold that it started, in bytes."""
        return self._descendants.peak_bytes()

    def _await(self, deadline: float, timeout: float) -> None:
        """Return when there is something to receive. Raises EOFError when the process has died, also where a child
        of its own keeps the pipe open; WorkerError when it is past its time or its memory."""
        look = 0.0
        while not self._pipe.poll(max(0.0, min(TICK_SECONDS, deadline - time.monotonic()))):
            if wait([self._process.sentinel], 0) and not self._pipe.poll(0):
                raise EOFError
            now = time.monotonic()
            if now >= look:
                self._descendants.look()
                look = now + LOOK_SECONDS
            taken = self._descendants.taken_bytes()
            if self.memory_limit is not None and taken > self.memory_limit:
                limit = memory.shown(self.memory_limit)
                self._stop("memory", f"took {memory.shown(taken)} of memory, limit {limit} (--memory-limit), stopped")
            if now >= deadline:
                self._stop("hung", f"no answer in {timeout:g} s, stopped", timeout)

    def _stop(self, kind: str, why: str, seconds: float | None = None) -> None:
        detail = self._detail()
        self.kill()
        raise WorkerError(kind, f"{self.name}: {why}", detail, seconds)

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "closed its pipe"
        if code < 0:
            name = signal.Signals(-code).name
            return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"exited with code {code}"

    def _detail(self, trace: str = "") -> str:
        printed = self.log()
        return "\n".join(filter(None, (trace.rstrip(), f"{PRINTED}\n{printed}" if printed else "")))

    def log(self) -> str:
        """The end of what it printed."""
        try:
            with self._log.open("rb") as file:  # it may have printed gigabytes
                file.seek(max(0, self._log.stat().st_size - 4 * LOG_END))
                return file.read().decode("utf-8", "replace")[-LOG_END:]
        except OSError:
            return ""

    def kill(self) -> None:
        """End the process, and all that it started, now."""
        self._descendants.look()  # while it lives: its death takes the list along
        self._process.kill()
        self._process.join(10)
        self._descendants.kill()
        self._pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """End the process, and all that it started; safe to call twice."""
        if self._pipe.closed:
            return
        self._descendants.look()
        self._pipe.close()  # at the end of its pipe it leaves by itself, and puts its semaphores away
        self._process.join(2)  # a thread that goes on is not waited for
        self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(
    pipe: Connection, folder: str, cpus: list[int] | None, threads: int, fatal: dict[str, str],
    enclosure: Enclosure | None, held_to: str | None,
) -> None:  # fmt: skip
    """The worker's side: answer one call after another until the pipe closes."""
    held = enclosure.enter() if enclosure else "open"  # while there is one thread, and before any of the method's code
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    lead_session()
    plugin_import.take_over(fatal)
    out = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):  # garbage printed by a plugin must not reach the terminal or a report
        os.dup2(out, stream)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(threads)
    state: dict[str, Any] = {"enclosed": held}

    def progress(what: str, done: int, total: int) -> None:
        pipe.send(("progress", what, done, total))

    def did(operations: Mapping[str, int]) -> None:
        pipe.send(("did", operations))

    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            if held_to:
                check(held_to)
            code = function.__code__
            takes = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            extra = {name: given for name, given in (("progress", progress), ("did", did)) if name in takes}
            pipe.send(("result", function(state, *args, **extra)))
        except PressbenchError as error:
            pipe.send(("unsupported" if isinstance(error, Unsupported) else "told", str(error)))
        except BaseException as error:  # SystemExit of a plugin is an error of that plugin, too
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            pipe.send(("failed", line, traceback.format_exc()))
            if isinstance(error, (SystemExit, MemoryError)):
                sys.exit(1)
