"""Asks the hub in a process that is killed at the deadline, so that no server can make anybody wait.

A socket's own time-outs are not enough: they bound each read, and a server that sends one byte a second passes all
of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from benchmarks.hub.errors import Refusal

CLIENT = Path(__file__).with_name("client.py")
TICK_SECONDS = 0.2
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # with it on, a look-up makes a request more
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
}


def ask(question: Mapping[str, Any], seconds: float, tick: Callable[[], None] = lambda: None) -> Any:
    """What `client.py` answers to `question`, within `seconds` of wall-clock time. `tick` is called while waiting.

    Raises Refusal: of the kinds that the client tells, "late" at the deadline, "failed" where it died."""
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-P", str(CLIENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=QUIET | os.environ,
            start_new_session=True,  # Ctrl-C is for us; and what it starts is killed with it
        )
        assert process.stdin and process.stdout
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
            answer = _read(process.stdout.fileno(), deadline, tick)
        finally:
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if answer is None:
            raise Refusal("late", f"no answer in {seconds:g} s")
        try:
            reply = json.loads(answer)
        except ValueError:
            raise Refusal("failed", _last_words(process, complaints)) from None
    if "error" in reply:
        raise Refusal(**{"kind": reply.pop("error")} | reply)
    return reply["result"]


def _read(pipe: int, deadline: float, tick: Callable[[], None]) -> bytes | None:
    """All that comes until the other side closes; None where the deadline comes first."""
    received = bytearray()
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None
        if select.select([pipe], [], [], min(TICK_SECONDS, remaining))[0]:
            part = os.read(pipe, 2**20)
            if not part:
                return bytes(received)
            received += part
        else:
            tick()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _last_words(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    return f"the process that asks ended with code {process.returncode}: {lines[-1] if lines else 'no word'}"[:300]
