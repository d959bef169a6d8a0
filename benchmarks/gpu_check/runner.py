"""Runs the checks, each with a time limit and in a process of its own where it can be, and keeps what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.gpu_check.check import NUMBER, Check, Number, Result, Setting, one_line, outcome, perform
from benchmarks.gpu_check.checks import CEILINGS
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.preparation.preparation import cpus_of
from compressors.interface import PressbenchError

LEAST = 3.0
"""Seconds below which no further check begins."""
OVER = "the time was over before it began"
STOPPED = "stopped before it was done"


def run(
    checks: Sequence[Check], setting: Setting, seconds: float, *,
    begins: Callable[[Check, int], None], steps: Callable[[str], None], ends: Callable[[list[Result]], None],
) -> tuple[list[Result], bool]:  # fmt: skip
    """A result of every check, and whether somebody pressed Ctrl-C. seconds: for all. begins: is told the check and its
    number; steps: what it is at; ends: all results so far."""
    results: list[Result] = []
    deadline, stopped = time.perf_counter() + seconds, False
    for number, check in enumerate(checks):
        left = deadline - time.perf_counter()
        if stopped or left < LEAST:
            results.append(Result(check.name, check.asks, "not here", STOPPED if stopped else OVER))
            continue
        begins(check, number)
        try:
            result = _one(check, setting, min(check.seconds, left), steps)
        except KeyboardInterrupt:
            result, stopped = Result(check.name, check.asks, "not here", STOPPED), True
        results.append(result)
        if check.name == CEILINGS:
            setting = dataclasses.replace(setting, ceilings=_reached(result))
        ends(results)
    ends(results)
    return results, stopped


def _one(check: Check, setting: Setting, seconds: float, steps: Callable[[str], None]) -> Result:
    started, numbers, at = time.perf_counter(), list[Number](), ""

    def told(what: str, done: int, total: int) -> None:
        nonlocal at
        if what.startswith(NUMBER):
            numbers.append(Number(*json.loads(what.removeprefix(NUMBER))))
        else:
            at = what
            steps(what)

    def failed(error: BaseException, detail: str = "") -> Result:
        took = round(time.perf_counter() - started, 2)
        reason = one_line(f"{error} (at: {at})" if at else str(error))
        return Result(check.name, check.asks, "failed", reason, tuple(numbers), took, detail)

    hardware = setting.hardware
    try:
        if not check.alone:
            with limited(seconds):
                return outcome(check, setting, steps, numbers.append)
        with Worker(check.name, cpus=cpus_of(hardware), threads=hardware.threads) as worker:
            result: Result = worker.call(perform, check, setting, timeout=seconds, progress=told)
            return result
    except WorkerError as error:
        return failed(error, error.detail)
    except (PressbenchError, TimeoutError) as error:
        return failed(error)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """TimeoutError after so long, in the main thread; elsewhere no limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def over(*_: Any) -> None:
        raise TimeoutError(f"not done in {seconds:.0f} s, stopped")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reached(result: Result) -> dict[str, float]:
    return {n.name: n.value for n in result.numbers if isinstance(n.value, float) and n.value > 0}
