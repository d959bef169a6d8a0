"""On a GPU the cache is emptied before every timed call, and that is never a part of what is timed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.measure import flush, timing
from benchmarks.measure.flush import flush_for
from benchmarks.measure.timing import FLUSH, Repeated
from benchmarks.qualification import block

CALL, FLUSHING = 0.01, 5.0
Slot = Callable[[dict[str, Any], int], float]


def through_timing(state: dict[str, Any], calls: int) -> float:
    timing.ready(state, 0, 0, calls)
    return timing.go(state, calls).seconds / calls


def watched(monkeypatch: pytest.MonkeyPatch, slot: Slot, module: Any, calls: int = 3) -> tuple[list[str], float]:
    """What was done in which order, by a clock that only the work and the flush move; and seconds a call."""
    now, log = [0.0], []

    def does(what: str, seconds: float) -> None:
        now[0] += seconds
        log.append(what)

    def call() -> np.ndarray:
        does("call", CALL)
        return np.zeros(3)

    def tick() -> float:
        now[0] += 1e-7  # so that who waits for a time is not waiting for ever
        return now[0]

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=tick))
    state = {"work": Repeated(call), FLUSH: lambda: does("flush", FLUSHING)}
    return log, slot(state, calls)


def fits(log: list[str], seconds: float, expected: float) -> bool:
    """Whether each of the three timed calls comes right after a flush of its own, none of which was timed."""
    return "".join(log).endswith(3 * "flushcall") and seconds == pytest.approx(expected, rel=1e-3)


def test_the_cache_is_emptied_before_each_timed_call_and_never_within(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits(*watched(monkeypatch, through_timing, timing), CALL)


def test_so_it_is_where_a_delay_is_injected(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = lambda state, calls: block.slowed_slot(state, calls, 0.05)
    assert fits(*watched(monkeypatch, slot, block), 1.05 * CALL)


def test_a_flush_within_the_time_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(state: Any, call: int, prepared: bool = False) -> tuple[float, np.ndarray, np.ndarray]:
        started = timing.time.perf_counter()
        state[FLUSH]()
        answer = np.asarray(state["work"].call(call))
        return timing.time.perf_counter() - started, answer, answer

    monkeypatch.setattr(timing, "_timed", within)
    assert not fits(*watched(monkeypatch, through_timing, timing), CALL)


def test_a_call_without_a_flush_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = timing._timed

    def once(state: Any, call: int, prepared: bool = False) -> tuple[float, np.ndarray, np.ndarray]:
        return right({**state, FLUSH: state[FLUSH] if call < 2 else None}, call, prepared)

    monkeypatch.setattr(timing, "_timed", once)
    assert not fits(*watched(monkeypatch, through_timing, timing), CALL)


def test_on_a_cpu_nothing_is_done() -> None:
    assert flush_for("cpu") is None
    state = {"work": Repeated(lambda: np.zeros(3)), FLUSH: None}
    assert through_timing(state, 2) >= 0


def test_twice_the_cache_is_written_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []
    buffer = SimpleNamespace(zero_=lambda: log.append("written"))
    made = lambda size, dtype, device: (log.append((size, dtype, device)), buffer)[1]
    monkeypatch.setattr(flush.torch, "empty", made)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=50 * 2**20))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"waited for {device}"))
    emptied = flush_for("cuda:1")
    assert emptied is not None and log == [(100 * 2**20, torch.int8, "cuda:1")]
    emptied()
    assert log[1:] == ["written", "waited for cuda:1"]
