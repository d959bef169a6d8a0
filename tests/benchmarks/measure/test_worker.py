"""Whatever happens in a worker is an answer or one error in the parent, and nothing of it leaks out."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))  # the workers take over the path, and find the module by it
import worker_functions as work

from benchmarks.measure import memory
from benchmarks.measure.worker import Worker, WorkerError
from compressors.interface import PressbenchError, Unsupported

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    """One worker for the tests that it survives."""
    with Worker("shared", threads=1) as worker:
        yield worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("method on model", threads=1) as worker:
        yield worker


def failing(worker: Worker, function: Callable[..., Any], *args: Any, timeout: float = 60) -> WorkerError:
    with pytest.raises(WorkerError) as told:
        worker.call(function, *args, timeout=timeout)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(f"{worker.name}: ")
    return told.value


# -- it answers ------------------------------------------------------------------------------------


def test_state_lives_as_long_as_the_worker(worker: Worker) -> None:
    assert [worker.call(work.add, amount) for amount in (1, 10, 100)] == [1, 11, 111]


def test_progress_comes_through_in_order(shared: Worker) -> None:
    seen: list[tuple[str, int, int]] = []
    assert shared.call(work.count, 3, progress=lambda *told: seen.append(told)) == "counted"
    assert seen == [("counting", 1, 3), ("counting", 2, 3), ("counting", 3, 3)]


def test_what_was_computed_comes_through(shared: Worker) -> None:
    assert shared.call(work.computes) == "computed"  # nobody asked
    found: list[Mapping[str, int]] = []
    with Worker("counted", threads=1, did=found.append) as worker:
        assert worker.call(work.computes) == "computed"
        assert worker.call(work.add, 1) == 1
    assert found == [{"float32": 5}, {"bfloat16": 7}]


@linux
def test_it_runs_where_and_as_it_was_told() -> None:
    cpu = max(os.sched_getaffinity(0))
    with Worker("pinned", cpus=[cpu], threads=1) as worker:
        found = worker.call(work.surroundings)
    assert found["cpus"] == [cpu]
    assert found["threads"] == 1
    assert found["variables"] == {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1")}


# -- it fails --------------------------------------------------------------------------------------


def test_an_exception_is_one_line_and_its_traceback_and_the_worker_goes_on(shared: Worker) -> None:
    error = failing(shared, work.raises)
    assert error.kind == "raised"
    assert str(error) == r"shared: KeyError: 'first line\nsecond line'"
    assert 'raise KeyError("first line' in error.detail
    assert shared.call(work.count, 1) == "counted"


def test_a_mistake_of_the_user_stays_one_without_decoration(shared: Worker) -> None:
    with pytest.raises(PressbenchError, match=r"^samples is 0, must be at least 1$"):
        shared.call(work.tells)
    assert shared.call(work.count, 1) == "counted"


def test_what_cannot_run_stays_unsupported(shared: Worker) -> None:
    with pytest.raises(Unsupported, match=r"^this model is small enough$"):
        shared.call(work.cannot)


def test_an_answer_that_cannot_be_sent_is_an_error(shared: Worker) -> None:
    error = failing(shared, work.unpicklable)
    assert error.kind == "raised"
    assert "lambda" in str(error)
    assert shared.call(work.count, 1) == "counted"


@pytest.mark.parametrize(
    ("function", "args", "told"),
    [
        (work.segfault, (), "the process was ended by SIGSEGV"),
        (work.send_signal, (signal.SIGABRT,), "the process was ended by SIGABRT"),
        (work.send_signal, (signal.SIGKILL,), "the process was ended by SIGKILL (out of memory?)"),
        (work.leave, (3,), "the process exited with code 3"),
        (work.leave, (0,), "the process exited with code 0"),
    ],
    ids=["segfault", "abort", "killed", "exit-3", "exit-0"],
)
def test_a_death_is_an_error_that_says_how(
    worker: Worker, function: Callable[..., Any], args: tuple[int], told: str
) -> None:
    error = failing(worker, function, *args)
    assert error.kind == "died"
    assert str(error) == f"method on model: {told}"


def test_sys_exit_is_an_error_of_the_plugin(worker: Worker) -> None:
    error = failing(worker, work.exit_politely)
    assert error.kind == "raised"
    assert str(error) == "method on model: SystemExit: the plugin thinks it is a program"


def test_a_hang_is_ended_and_the_process_is_gone(worker: Worker) -> None:
    pid = worker.call(work.process)
    error = failing(worker, work.hang, timeout=0.5)
    assert error.kind == "hung"
    assert re.search(r"no answer in 0\.5 s, stopped", str(error))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("end", [work.hang, work.leave], ids=["hung", "died"])
def test_who_calls_a_dead_worker_is_told_so(worker: Worker, end: Callable[..., Any]) -> None:
    failing(worker, end, *((1,) if end is work.leave else ()), timeout=0.5 if end is work.hang else 60)
    error = failing(worker, work.count, 1)
    assert error.kind == "died"


def test_a_death_is_seen_though_a_child_holds_the_pipe(worker: Worker) -> None:
    error = failing(worker, work.die_with_a_child_on_the_pipe)
    assert str(error) == "method on model: the process was ended by SIGSEGV"


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [work.eat, work.feed_a_child], ids=["itself", "its-child"])
def test_too_much_memory_is_an_error_with_limit_and_peak(function: Callable[..., Any]) -> None:
    with Worker("method on model", threads=1) as worker:
        worker.call(work.add, 1)
        limit = psutil.Process(worker.call(work.process)).memory_info().rss + (200 << 20)
    with Worker("method on model", threads=1, memory_limit=limit) as worker:
        assert worker.call(work.eat, 16) is None
        error = failing(worker, function, 900)
    assert error.kind == "memory"
    told = re.fullmatch(
        r"method on model: took ([\d.]+) (MiB|GiB) of memory, limit [\d.]+ (?:MiB|GiB) \(--memory-limit\), stopped",
        str(error),
    )
    assert told, str(error)
    assert float(told[1]) * (1024 if told[2] == "GiB" else 1) > limit >> 20


@linux
def test_a_file_that_is_mapped_is_not_memory_that_it_took(tmp_path: Path) -> None:
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(1 << 30)
    with Worker("method on model", threads=1) as worker:
        worker.call(work.add, 1)
        limit = psutil.Process(worker.call(work.process)).memory_info().rss + (200 << 20)
    with Worker("method on model", threads=1, memory_limit=limit) as worker:
        worker.call(work.look_through, str(tmp_path / "weights"))


@pytest.mark.parametrize(("text", "size"), [("4GiB", 4 << 30), ("512 MiB", 512 << 20), ("1.5GiB", 3 << 29)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert memory.parse_size("--memory-limit", text) == size


@pytest.mark.parametrize("text", ["", "4", "4GB", "-1GiB", "0MiB", "GiB", "1e3MiB"])
def test_a_size_that_makes_no_sense_is_one_line(text: str) -> None:
    with pytest.raises(PressbenchError, match=r"^--memory-limit .*: expected a size such as 4GiB or 512MiB$"):
        memory.parse_size("--memory-limit", text)


def test_the_limit_is_below_what_the_machine_has() -> None:
    assert 0 < memory.default_limit() < psutil.virtual_memory().total


# -- what it leaves --------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("end", ["closed", "hung"])
def test_no_process_that_it_started_outlives_it(end: str) -> None:
    with Worker("method on model", threads=1) as worker:
        started = [worker.call(work.process), *worker.call(work.start_processes)]
        if end != "closed":
            failing(worker, work.hang, timeout=1)
    deadline = time.monotonic() + 10
    while (left := [pid for pid in started if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_threads_that_go_on_end_with_it() -> None:
    with Worker("method on model", threads=1) as worker:
        pid = worker.call(work.process)
        worker.call(work.spin)
    assert not alive(pid)


def test_temporary_files_go_with_it(worker: Worker) -> None:
    file = worker.call(work.leave_a_file)
    assert file.is_file()
    worker.close()
    assert not file.exists()


# -- Ctrl-C ----------------------------------------------------------------------------------------


def test_a_worker_leaves_ctrl_c_to_its_parent(worker: Worker) -> None:
    assert worker.call(work.send_signal, signal.SIGINT) == "still here"


def test_ctrl_c_in_the_parent_ends_the_worker(worker: Worker) -> None:
    pid = worker.call(work.process)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call(work.count, 1, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# -- what it prints --------------------------------------------------------------------------------

GARBAGE = ["by print", "by print to stderr", "by write", "by write to stderr", "by a library"]


@linux
def test_what_it_prints_goes_to_its_log_by_whatever_way(worker: Worker) -> None:
    assert worker.call(work.chatter) == "result"
    assert sorted(worker.log().splitlines()) == sorted(f"garbage {way}" for way in GARBAGE)


@linux
def test_the_end_of_the_log_is_told_when_it_dies(worker: Worker) -> None:
    error = failing(worker, work.chatter_and_die)
    assert str(error) == "method on model: the process exited with code 7"
    assert "garbage by a library" in error.detail


@linux
@pytest.mark.parametrize("end", ["closed", "died", "hung"])
def test_no_log_is_left_behind(end: str) -> None:
    with Worker("tidy", threads=1) as worker:
        log = worker.call(work.surroundings)["log"]
        assert log.is_file()
        if end == "died":
            failing(worker, work.leave, 1)
        elif end == "hung":
            failing(worker, work.hang, timeout=0.5)
    assert not log.exists()
    worker.close()  # once more, and nothing happens
