"""What workers are forked from can be started early, and by what imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import forkserver as started
from pathlib import Path

import psutil

from benchmarks.measure import forkserver
from benchmarks.measure.worker import Worker

ROOT = Path(__file__).parents[3]


def test_workers_are_forked_from_what_was_begun() -> None:
    forkserver.begin()
    server = started._forkserver._forkserver_pid  # type: ignore[attr-defined]
    forkserver.begin()
    with Worker("one", threads=1) as worker:
        assert psutil.Process(int(worker._process.pid or 0)).ppid() == server


def test_to_begin_it_takes_no_torch() -> None:
    """Else it would begin when all else is imported, and gain nothing."""
    ask = "import sys, benchmarks.measure.forkserver; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr
