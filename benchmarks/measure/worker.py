"""A worker: one process that does one thing at a time for the suite, and whose death is only an error.

Workers start from a forkserver that has already imported torch and transformers, models' common parts
included: 10 ms a worker and 0.5 s to load a small model in it, where a fresh process takes 4 s and 2 s.
A crash, a hang or a kill becomes `WorkerError` in the parent, and the run goes on.
What the worker prints goes to a log, of which the end is told when it dies.
Does not protect from: files the code in it chooses to write, or memory it takes (next to come).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from compressors.interface import PressbenchError, Progress, no_progress

PRELOAD = [
    "torch",
    "numpy",
    "transformers",
    # transformers imports these when the first model is built, which takes 2 s: once, here, and not in every worker.
    "transformers.modeling_utils",
    "transformers.modeling_layers",
    "transformers.activations",
    "benchmarks.measure.stages",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOAD)


class WorkerError(Exception):
    """The work in a worker failed. kind: "raised", "died" or "hung"; the message is one line."""

    def __init__(self, kind: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail


class Worker:
    """One process. `call` runs a function in it, with a dictionary that lives as long as the worker as
    its first argument; the function and its arguments must be importable and picklable."""

    def __init__(self, name: str, *, cpus: Sequence[int] | None = None, threads: int = 1) -> None:
        self.name = name
        handle, log = tempfile.mkstemp(prefix="pressbench-worker-", suffix=".log")
        os.close(handle)
        self._log = Path(log)
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(
            target=_serve, args=(theirs, str(self._log), list(cpus) if cpus else None, threads), daemon=True
        )
        self._process.start()
        theirs.close()

    def call(
        self, function: Callable[..., Any], *args: Any, timeout: float = 600.0, progress: Progress = no_progress
    ) -> Any:
        """Run `function(state, *args)` in the worker and return what it returns.

        A function with a parameter `progress` is given one. Raises PressbenchError where the function
        did, WorkerError for anything else that went wrong; after a hang or a death the worker is gone.
        """
        if self._pipe.closed:
            raise WorkerError("died", f"{self.name}: the process was stopped before")
        deadline = time.monotonic() + timeout
        try:
            self._pipe.send((function, args))
            while True:
                if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                    self.kill()
                    raise WorkerError("hung", f"{self.name}: no answer in {timeout:g} s, stopped", self.log())
                kind, *rest = self._pipe.recv()
                if kind == "progress":
                    progress(*rest)
                elif kind == "result":
                    return rest[0]
                elif kind == "told":
                    raise PressbenchError(rest[0])
                else:
                    raise WorkerError("raised", f"{self.name}: {rest[0]}", rest[1])
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5)
            raise WorkerError("died", f"{self.name}: the process {self._how_it_ended()}", self.log()) from None
        except KeyboardInterrupt:
            self.kill()
            raise

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "closed its pipe"
        if code < 0:
            name = signal.Signals(-code).name
            return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"exited with code {code}"

    def log(self) -> str:
        """The end of what it printed."""
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        except OSError:
            return ""

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.join(10)
        self._pipe.close()
        self._log.unlink(missing_ok=True)

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._pipe.close()  # at the end of its pipe it leaves by itself, and puts its semaphores away
        self._process.join(2)
        if self._process.is_alive():
            self.kill()
        self._log.unlink(missing_ok=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Connection, log: str, cpus: list[int] | None, threads: int) -> None:
    """The worker's side: answer one call after another until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):  # garbage printed by a plugin must not reach the terminal or a report
        os.dup2(out, stream)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(threads)
    state: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        pipe.send(("progress", what, done, total))

    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            wanted = (
                "progress"
                in function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
            )
            extra = {"progress": progress} if wanted else {}
            pipe.send(("result", function(state, *args, **extra)))
        except PressbenchError as error:
            pipe.send(("told", str(error)))
        except BaseException as error:  # SystemExit of a plugin is an error of that plugin, too
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            pipe.send(("failed", line, traceback.format_exc()))
            if isinstance(error, (SystemExit, MemoryError)):
                sys.exit(1)
