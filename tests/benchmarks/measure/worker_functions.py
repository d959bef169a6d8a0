"""What the tests of the worker run inside one: well-behaved and ill-behaved functions."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compressors.interface import PressbenchError, Unsupported

State = dict[str, Any]


def add(state: State, amount: int) -> int:
    state["sum"] = state.get("sum", 0) + amount
    return int(state["sum"])


def process(state: State) -> int:
    return os.getpid()


def computes(state: State, *, did: Callable[[dict[str, int]], None]) -> str:
    did({"float32": 5})
    did({"bfloat16": 7})
    return "computed"


def raises(state: State) -> None:
    raise KeyError("first line\nsecond line")


def tells(state: State) -> None:
    raise PressbenchError("samples is 0, must be at least 1")


def cannot(state: State) -> None:
    raise Unsupported("this model is small enough")


def segfault(state: State) -> None:
    ctypes.string_at(0)


def send_signal(state: State, number: int) -> str:
    os.kill(os.getpid(), number)
    return "still here"


def leave(state: State, code: int) -> None:
    os._exit(code)


def exit_politely(state: State) -> None:
    sys.exit("the plugin thinks it is a program")


def hang(state: State) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    time.sleep(600)


def chatter(state: State) -> str:
    print("garbage by print")
    print("garbage by print to stderr", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.write(1, b"garbage by write\n")
    os.write(2, b"garbage by write to stderr\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"garbage by a library")
    libc.fflush(None)
    return "result"


def chatter_and_die(state: State) -> None:
    chatter(state)
    os._exit(7)


def count(state: State, total: int, *, progress: Callable[[str, int, int], None]) -> str:
    for number in range(total):
        progress("counting", number + 1, total)
    return "counted"


def unpicklable(state: State) -> object:
    return lambda: None


def surroundings(state: State) -> dict[str, Any]:
    import torch

    return {
        "cpus": sorted(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE")},
        "log": Path(os.readlink("/proc/self/fd/1")),
    }


def spin(state: State) -> None:
    def forever() -> None:
        while True:
            pass

    for _ in range(2):
        threading.Thread(target=forever).start()


def start_processes(state: State) -> list[int]:
    """One in this session, one in its own, one in the background of a shell that has ended."""
    sleep = ["sleep", "600"]
    found = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
    told = subprocess.run(["sh", "-c", "setsid sleep 600 >&- & echo $!"], stdout=subprocess.PIPE, text=True)
    return [*found, int(told.stdout)]


def die_with_a_child_on_the_pipe(state: State) -> None:
    if os.fork() == 0:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGSEGV)


def eat(state: State, mebibytes: int) -> None:
    """Takes memory until there is as much, a little at a time."""
    held = []
    for _ in range(mebibytes // 16):
        held.append(b"x" * (16 << 20))
        time.sleep(0.01)


def look_through(state: State, file: str) -> None:
    """Maps a file and reads all of it, as weights are read."""
    mapped = np.memmap(file, np.uint8, "r")
    for _ in range(8):
        assert not mapped.any()
        time.sleep(0.1)


def feed_a_child(state: State, mebibytes: int) -> None:
    code = f"import time; held = b'x' * ({mebibytes} << 20); time.sleep(600)"
    subprocess.run([sys.executable, "-c", code])


def leave_a_file(state: State) -> Path:
    handle, name = tempfile.mkstemp()
    os.close(handle)
    return Path(name)
