"""A lane: one artifact loaded in a worker of its own, ready to be timed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.measure import stages
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.zoo.workload import Workload
from compressors.interface import Hardware, PressbenchError


class Timed(Protocol):
    """What can take its turn in pairs."""

    name: str

    def slot(self) -> float:
        """Mean seconds of one forward pass in one slot."""
        ...


class Lane:
    """One artifact loaded in a worker, with its workload, ready to be timed."""

    def __init__(
        self,
        name: str,
        artifact: Path,
        hardware: Hardware,
        cpus: Sequence[int],
        examples: Path,
        workload: Workload,
        timeout: float,
        memory_limit: int | None = None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.worker = Worker(name, cpus=cpus, threads=hardware.threads, memory_limit=memory_limit)
        try:
            self.worker.call(stages.load, artifact, hardware, workload.generates, timeout=timeout)
            self.worker.call(stages.set_workload, examples, workload, timeout=timeout)
            self.calls = int(self.worker.call(stages.calls_per_slot, timeout=timeout))
        except BaseException:
            self.worker.close()
            raise

    def slot(self) -> float:
        """Mean seconds of one forward pass in one slot."""
        return float(self.worker.call(stages.slot, self.calls, timeout=self.timeout))

    def outcome(self) -> np.ndarray:
        """What one call gives: outputs, or tokens."""
        return np.asarray(self.worker.call(stages.call_once, timeout=self.timeout))

    def bytes_read(self) -> int:
        """Bytes that a decode step has to read, see `compressors.runtimes.generation.Generator`."""
        return int(self.worker.call(stages.bytes_read, timeout=self.timeout))

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


def fastest(lanes: Sequence[Lane], *, rounds: int = 7, seed: int = 0) -> Lane | None:
    """The lane with the lowest median slot over a few interleaved rounds. One that fails is out of it;
    None where none is left."""
    coin = random.Random(seed)
    times: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    for _ in range(rounds):
        for lane in coin.sample(list(lanes), len(lanes)):
            if lane.name in times:
                try:
                    times[lane.name].append(lane.slot())
                except (WorkerError, PressbenchError):  # as a case of its own it tells why
                    del times[lane.name]
    alive = [lane for lane in lanes if lane.name in times]
    return min(alive, key=lambda lane: sorted(times[lane.name])[rounds // 2], default=None)
