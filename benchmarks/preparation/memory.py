"""What memory an artifact takes: that of the worker it runs in and of all that it starts, above an empty one's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import stages, timing
from benchmarks.measure.worker import Worker
from benchmarks.zoo.workload import Workload
from compressors.interface import Hardware

CALLS = 12
"""Calls after the first, each on other inputs, over which memory is watched."""
LOOKS = 3
"""How often as many more are watched where it grew: what an allocator keeps for later ends, a leak goes on."""
GROWTH = 64 * 2**10
"""Bytes a call from which memory is said to grow: below, an allocator's own comings and goings."""


@dataclass(frozen=True)
class Waits:
    """What a user waits for, seconds by the parent's clock in a fresh process. imported: until the runtime's libraries
    are there (torch and transformers are before). loaded: from opening the file until it can be called, compiling
    included. called: from there until the first answer is an array."""

    imported: float
    loaded: float
    called: float

    @property
    def first_answer(self) -> float:
        """From opening the file to the first answer."""
        return self.loaded + self.called


@dataclass(frozen=True)
class Memory:
    """In bytes, above a worker that has imported the runtime and loaded nothing. peak: the most. growth: by call.
    held: after each call, above what was held before the first, files that are mapped left out."""

    peak: int
    growth: int
    held: tuple[int, ...]
    waits: Waits

    @property
    def grows(self) -> bool:
        """Whether each call leaves something behind."""
        return self.growth > GROWTH

    def to_json(self) -> dict[str, Any]:
        """For a record. held: after the first call, and after each that followed."""
        return {"peak_bytes": self.peak, "growth_bytes_a_call": self.growth, "held_bytes": list(self.held)}


def measured(
    worker: Worker, artifact: Path, examples: Path, workload: Workload, hardware: Hardware, limit: float
) -> Memory:
    """Load the artifact in the fresh `worker` and call it a few times."""
    started = time.perf_counter()
    worker.call(stages.import_runtime, artifact, timeout=limit)
    imported, empty = time.perf_counter() - started, worker.peak_bytes()
    started = time.perf_counter()
    worker.call(stages.load, artifact, hardware, timeout=limit)
    loaded = time.perf_counter() - started
    worker.call(timing.set_workload, examples, workload, timeout=limit)
    held: list[int] = []
    peak, called, before = 0, 0.0, worker.private_bytes()
    for number in range(1 + LOOKS * CALLS):
        if number > 1 and number % CALLS == 1 and growth_of(held) <= GROWTH:
            break
        started = time.perf_counter()
        worker.call(timing.call_once, number, timeout=limit)
        called = time.perf_counter() - started if number == 0 else called
        held.append(worker.private_bytes() - before)
        if number == 0:
            peak = worker.peak_bytes()  # what comes after is growth, and told as such
    return Memory(max(0, peak - empty), growth_of(held), tuple(held), Waits(imported, loaded, called))


def growth_of(held: Sequence[int]) -> int:
    """Bytes a call by which memory grew, from what was held after the first call and after each of one or several times
    `CALLS` more: the least that any of these times shows. In each, both the lowest and the highest points of two late
    stretches must rise. What a call needs and gives back comes and goes with the moment of looking, an allocator
    settles in the first few calls, and it may keep later what it gave back before: that lifts the lowest points to
    where the highest were, or all of them once or twice, and those stay."""
    return min(_rise(held[first : first + CALLS]) for first in range(1, len(held), CALLS))


def _rise(held: Sequence[int]) -> int:
    """Bytes a call from the last quarter but one to the last."""
    part = len(held) // 4
    late, earlier = held[-part:], held[-2 * part : -part]
    return max(0, min(min(late) - min(earlier), max(late) - max(earlier))) // part
