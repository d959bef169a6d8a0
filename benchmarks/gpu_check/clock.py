"""Seconds of a call: on a device by CUDA events, from outside by a waiting clock, and as the suite times a case."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import timing
from benchmarks.measure.flush import buffer_bytes, flush_for
from benchmarks.measure.timing import FLUSH, Repeated, Work

CYCLES = 2.0e9
"""Of a GPU's clock in a second, or less: how long it is kept waiting is counted in cycles."""
WAIT = 30e-6
"""Seconds that a GPU is kept waiting before a call that is measured, beside twice what handing it over takes."""
SLOTS = 5


def device_seconds(call: Callable[[], object], device: str, repetitions: int, *, cold: bool = True) -> float:
    """The median of what a call takes on the device alone; on a CPU what it takes. cold: with the L2 cache emptied
    before. While the device waits the whole call is handed over, so that what the processor takes to do that is no
    part of it."""
    call()
    if device == "cpu":
        return statistics.median(_elapsed(call, None) for _ in range(repetitions))
    with torch.cuda.device(device):
        call()
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        wait = int(CYCLES * (WAIT + 2 * (time.perf_counter() - started)))
        buffer = torch.empty(buffer_bytes(device), dtype=torch.int8, device=device) if cold else None
        found = []
        for _ in range(repetitions):
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            if buffer is not None:
                buffer.zero_()
            torch.cuda._sleep(wait)
            begun.record()
            call()
            ended.record()
            ended.synchronize()
            found.append(begun.elapsed_time(ended) / 1000)
        return statistics.median(found)


def waited_seconds(call: Callable[[], object], device: str, repetitions: int) -> float:
    """The median of what one waits for a call, from an idle device with an empty L2 cache until it is done."""
    flush, wait = flush_for(device), None if device == "cpu" else lambda: torch.cuda.synchronize(device)
    call()
    found = []
    for _ in range(repetitions):
        if flush:
            flush()
        found.append(_elapsed(call, wait))
    return statistics.median(found)


def _elapsed(call: Callable[[], object], wait: Callable[[], object] | None) -> float:
    started = time.perf_counter()
    call()
    if wait:
        wait()
    return time.perf_counter() - started


def suite_seconds(call: Callable[[], np.ndarray], device: str) -> float:
    """The median of slots, by the suite's own clock and in its way: a call is over when its answer is an array."""
    return slot_seconds(Repeated(call), device)


def slot_seconds(work: Work, device: str, slots: int = SLOTS) -> float:
    """The same of any work that the suite times: mean seconds of a call, the median over slots."""
    state: dict[str, Any] = {"work": work, FLUSH: flush_for(device)}
    calls = timing.calls_per_slot(state)
    found = []
    for slot in range(slots):
        timing.ready(state, 0, slot, calls)
        found.append(timing.go(state, calls).seconds / calls)
    return statistics.median(found)
