"""An index of runs spares parsing and is never trusted over the files, also while others write beside."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
from million import case_name, write_runs
from stored_runs import RUNS, record, values, write

from results.store import file_lock, index, query, scan
from results.store.query import Runs, history, latest
from results.store.record import RunHeader, to_line
from results.store.run_writer import RunWriter
from results.store.store import read_run

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


# -- the index -------------------------------------------------------------------------------------


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(query, "_KEEP_FROM", 1)
    monkeypatch.setenv("PRESSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def index_file(folder: Path) -> Path:
    return index.index_path(str(folder))


def test_what_is_indexed_is_not_parsed_again(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in RUNS[:2]:
        write(indexed, run, record(run))
    first = latest(indexed)
    read: list[str] = []
    monkeypatch.setattr(scan.Scanner, "read", lambda self, sheets: read.extend(f.name for _, f in sheets))
    assert latest(indexed) == first
    assert (read, index_file(indexed).is_file()) == ([], True)


def test_the_index_is_never_trusted_over_the_files(indexed: Path) -> None:
    paths = [write(indexed, run, record(run, value=float(n))) for n, run in enumerate(RUNS, 1)]
    assert values(indexed) == [1.0, 2.0, 3.0]
    paths[0].unlink()
    assert values(indexed) == [2.0, 3.0]
    paths[1].write_bytes(paths[1].read_bytes().replace(b'"value":2.0', b'"value":7.0'))
    os.utime(paths[1], (1, 1))
    assert values(indexed) == [7.0, 3.0]
    write(indexed, "20261122T000000Z-dddd", record("20261122T000000Z-dddd", value=4.0), end=False)
    assert values(indexed) == [7.0, 3.0, 4.0]
    index_file(indexed).write_bytes(b"no index at all" * 1000)
    assert values(indexed) == [7.0, 3.0, 4.0]
    index_file(indexed).unlink()
    assert values(indexed) == [7.0, 3.0, 4.0]


def test_damage_is_told_from_the_index_too(indexed: Path) -> None:
    path = write(indexed, RUNS[0], record(RUNS[0]))
    path.write_bytes(path.read_bytes().replace(b'"kind":"end"', b'"kind":"e'))
    for _ in range(2):
        with Runs(indexed) as runs:
            assert (runs.records, len(runs.problems)) == (1, 1)


def test_an_index_that_cannot_be_written_costs_nothing(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSBENCH_CACHE", os.devnull)
    write(indexed, RUNS[0], record(RUNS[0]))
    assert values(indexed) == values(indexed) == [2.0]


def test_who_reads_an_index_goes_on_while_it_is_replaced(indexed: Path) -> None:
    write(indexed, RUNS[0], record(RUNS[0], value=1.0))
    latest(indexed)
    with Runs(indexed) as before:
        write(indexed, RUNS[1], record(RUNS[1], value=2.0))
        assert values(indexed) == [1.0, 2.0]
        assert before.history("fast")[0].values == [1.0]
    assert [path.name for path in index_file(indexed).parent.iterdir()] == [index_file(indexed).name]


def test_the_index_says_what_the_files_say(indexed: Path) -> None:
    write_runs(indexed, runs=6, records=30)
    straight, again = latest(indexed), latest(indexed)
    assert straight == again
    assert len(straight) == 6 * 30  # each run has a machine of its own
    assert len(history(indexed, case_name(3), "speed")) == 6


# -- writers beside --------------------------------------------------------------------------------


WRITERS, WRITTEN = 8, 25


def write_slowly(folder: Path, number: int, start: Any) -> None:
    """One process's run: lines long enough to be written in several pages."""
    run = f"20261121T00000{number}Z-{number:04x}"
    start.wait()
    with RunWriter(folder, RunHeader(run=run, started="2026-11-21T00:00:00+00:00")) as writer:
        for index in range(WRITTEN):
            samples = [random.Random(index).random()] * 2000
            writer.write(record(run, f"case {index}", float(number), evidence={"samples": samples}))
        writer.finish()


def test_eight_writers_lose_nothing_and_a_query_beside_them_sees_whole_lines(indexed: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    start = context.Event()
    processes = [context.Process(target=write_slowly, args=(indexed, n, start)) for n in range(WRITERS)]
    for process in processes:
        process.start()
    write(indexed, RUNS[0], record(RUNS[0], "before"))
    start.set()
    seen, counts = 0, []
    while any(process.is_alive() for process in processes):
        with Runs(indexed) as runs:
            # A file may be found between its making and its first line.
            assert [text for text in runs.problems if "it is empty" not in text] == []
            found = [result for result in runs.latest() if result.case != "before"]
            counts.append(runs.records)
        assert all(result.number("speedup").value == int(result.run[14]) for result in found)
        seen += 1
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen and counts == sorted(counts)
    with Runs(indexed) as runs:
        assert (runs.records, runs.problems) == (WRITERS * WRITTEN + 1, [])
    found = [read_run(path) for path in sorted(indexed.glob("*.jsonl")) if path.stem != RUNS[0]]
    assert [len(run.cases) for run in found] == [WRITTEN] * WRITERS
    assert all(run.end and not run.damaged for run in found)


@pytest.mark.skipif(file_lock.fcntl is None, reason="files cannot be locked")
def test_half_a_line_is_damage_only_once_nobody_writes_it(indexed: Path) -> None:
    with RunWriter(indexed, RunHeader(run=RUNS[0], started="")) as writer:
        writer.write(record(RUNS[0]))
        with writer.path.open("ab") as file:
            file.write(to_line(record(RUNS[0], "half"))[:40])
        with Runs(indexed) as runs:
            assert (runs.cases(), runs.problems) == (["fast"], [])
    with Runs(indexed) as runs:
        assert runs.cases() == ["fast"]
        assert [text.partition(",")[0] for text in runs.problems] == [f"{RUNS[0]}.jsonl line 3: cut short"]
