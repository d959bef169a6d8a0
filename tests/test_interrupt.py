"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import NO_TARGETS, WAIT, Place, finish
from planted_methods import PLUGINS

from results.store.store import list_runs, read_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("interrupt"), matrix_cache, PLUGINS, NO_TARGETS)


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_running(place: Place) -> None:
    options = ["--model", "vit-digits", "--compressor", "dense", "--compressor", "planted-slow"]
    process = place.start("-m", "pytest", *place.command(*options, results="interrupted"), fresh=True)
    begun, deadline = place.folder / "started", time.monotonic() + WAIT
    while not (begun.exists() and begun.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    done = finish(process)
    assert done.code == pytest.ExitCode.INTERRUPTED, done.out + done.err
    (path,) = list_runs(place.folder / "interrupted")
    found = read_run(path)
    assert [(r.case, r.measure, r.verdict) for r in found.cases] == [("dense-vit-digits-cpu", "accuracy", "measured")]
    assert found.end is None
    assert len(found.header.expected) == 6
    shown = " ".join(done.out[done.out.index(" pressbench ") :].split())
    assert "interrupted: 1 of 6 cases" in shown
    with pytest.raises(ProcessLookupError):  # the method sleeps no more
        os.kill(int(begun.read_text()), 0)
    assert not list(place.cache.rglob(".building-*planted-slow*"))  # other runs of the tests may be building theirs
    assert not re.search("Warning|[1-9] warning|Traceback|leaked", done.out + done.err)
