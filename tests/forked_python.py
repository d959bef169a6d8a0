"""Python started as from a shell, but forked from a process that has imported what a run imports first.

A run of the suite imports torch and transformers, and so does the workers' forkserver: together some 20 s of
processor time on a slow machine, for tests that then run for three. What is forked has its own arguments, environment,
folder, paths, process group and forkserver. Not for what depends on how Python itself begins or ends: its very end is
`os._exit`.
"""

from __future__ import annotations

import atexit
import importlib
import io
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import arbitrary_address
from pathlib import Path
from typing import Any

from benchmarks.measure.forkserver import PRELOAD, context

IMPORTED = [*PRELOAD, "pytest", "datasets", "scipy.stats", "benchmarks.matrix.matrix", "benchmarks.run.run"]
context.set_forkserver_preload(IMPORTED)


class ForkedPython:
    """What `subprocess.Popen([sys.executable, *command], …)` is, of which a test reads the end."""

    def __init__(self, command: Sequence[str], at: Path, environment: Mapping[str, str]) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="forked-python-")
        self._folder = Path(self._kept.name)
        self._process = context.Process(
            target=_run, args=(list(command), str(at), dict(environment), str(self._folder))
        )
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int:
        code = self._process.exitcode
        assert code is not None
        return code

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed, once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout or 0.0)
        out, err = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def _run(command: list[str], at: str, environment: dict[str, str], folder: str) -> None:
    os.setsid()
    for stream, name in ((1, "out"), (2, "err")):
        file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout, sys.stderr = (io.TextIOWrapper(open(fd, "wb", closefd=False), encoding="utf-8") for fd in (1, 2))  # noqa: SIM115
    sys.stderr.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(at)
    added = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = dict.fromkeys([at, *added, *filter(None, sys.path)])
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] == "anyio"]:
        del sys.modules[name]  # a plugin of pytest, which wants to import it itself, and warns
    _own_forkserver()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        _as_main(command)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _as_main(command: list[str]) -> None:
    """`-m module` or a file, with arguments."""
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


def _own_forkserver() -> None:
    """This process's own, which sees its environment, made by a fork of it while it has one thread. It is what
    `forkserver.ensure_running` makes by starting a Python, which a later release may do in another way: then it
    does so here, too."""
    if sys.version_info >= (3, 14):
        return
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    with socket.socket(socket.AF_UNIX) as listener:
        address = arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
        listener.bind(address)
        listener.listen()
        alive, held = os.pipe()
        if not (pid := os.fork()):
            os.close(held)
            try:
                forkserver.main(listener.detach(), alive, [])
            finally:
                os._exit(0)
        os.close(alive)
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, held, pid
