"""A lane: one artifact loaded in a worker of its own, ready to be timed."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.measure import stages, timing
from benchmarks.measure.enclosure import Enclosure
from benchmarks.measure.outside import Account
from benchmarks.measure.timing import TRIAL, Checked
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.zoo.workload import Workload
from compressors.interface import Hardware, PressbenchError

LOOK_EVERY = 16
"""Slots between two looks for processes that a worker has started: they take some milliseconds."""
FEWEST_ROUNDS = 3
"""Rounds after which a lane may be left alone: two alike are then told apart one time in ten, and it does not matter
which of two alike is taken."""
KEPT_CHECKS = 256
"""Slots of which a lane keeps an answer to be compared with those that were scored."""


class Timed(Protocol):
    """What can take its turn in pairs."""

    name: str

    def slot(self, number: int = TRIAL, seed: int = 0) -> float:
        """Mean seconds of one call in one slot. number: of the pair, by which its inputs are drawn."""
        ...


class Lane:
    """One artifact loaded in a worker, with its workload, ready to be timed. account: its slots as seen from outside.
    checks: what it answered to inputs to which an answer is known."""

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
        enclosure: Enclosure | None = None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.account = Account(hardware.threads, hardware.device == "cpu")
        self.checks: list[Checked] = []
        self._ended: float | None = None
        self.worker = Worker(
            name, cpus=cpus, threads=hardware.threads, memory_limit=memory_limit, enclosure=enclosure,
            held_to=hardware.held_to,
        )  # fmt: skip
        try:
            self.worker.call(stages.import_runtime, artifact, timeout=timeout)
            self._empty = self.worker.peak_bytes()
            self.worker.call(stages.load, artifact, hardware, workload.kind, timeout=timeout)
            self.worker.call(timing.set_workload, examples, workload, timeout=timeout)
            self.calls = int(self.worker.call(timing.calls_per_slot, timeout=timeout))
        except BaseException:
            self.worker.close()
            raise

    def slot(self, number: int = TRIAL, seed: int = 0) -> float:
        """Mean seconds of one call in one slot, by the worker's clock; the parent's, and the processor's time, go into
        the account."""
        if len(self.account.waited) % LOOK_EVERY == 0:
            self.worker.look()
        before = self.worker.processor_seconds()
        if self._ended is not None:
            self.account.after.append(max(0.0, before - self._ended))
        try:
            self.worker.call(timing.ready, seed, number, self.calls, timeout=self.timeout)
            begun, started = self.worker.processor_seconds(), time.perf_counter()
            found: timing.Slot = self.worker.call(timing.go, self.calls, timeout=self.timeout)
        except PressbenchError as error:
            raise type(error)(f"{self.name}: {error}") from None
        waited, self._ended = time.perf_counter() - started, self.worker.processor_seconds()
        self.account.claimed.append(found.whole)
        self.account.waited.append(waited)
        self.account.busy.append(self._ended - begun)
        if found.checked is not None and len(self.checks) < KEPT_CHECKS:
            self.checks.append(found.checked)
        return found.seconds / self.calls

    def begin(self) -> None:
        """Forget what was seen so far: a lane that serves several cases keeps an account of each."""
        self.account = Account(self.account.threads, self.account.cpu)
        self.checks = []
        self._ended = None

    def bytes_read(self) -> int:
        """Bytes that a decode step has to read, see `compressors.runtimes.generation.Generator`."""
        return int(self.worker.call(timing.bytes_read, timeout=self.timeout))

    def memory(self) -> int:
        """The most bytes that the worker has taken so far, above one that has loaded nothing."""
        return max(0, self.worker.peak_bytes() - self._empty)

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


def fastest(lanes: Sequence[Lane], *, rounds: int = 7, seed: int = 0) -> Lane | None:
    """The lane with the lowest median slot over a few interleaved rounds. One that fails is out of it, and one whose
    slots do not add up; None where none is left. From the third round on a lane is left alone of which every slot was
    slower than every one of the leader's, and nothing more is timed where it is the only one left: of slots that take
    a quarter of a minute, as decoding after a long prompt, the slow ones would take most of the time."""
    coin = random.Random(seed)
    times: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    for number in range(rounds):
        for lane in coin.sample(list(lanes), len(lanes)):
            if lane.name in times:
                try:
                    times[lane.name].append(lane.slot(TRIAL + number, seed))
                except (WorkerError, PressbenchError):  # as a case of its own it tells why
                    del times[lane.name]
        sound = {lane.name: times[lane.name] for lane in lanes if lane.name in times and not lane.account.faults()}
        if number + 1 >= FEWEST_ROUNDS and sound:
            leader = max(min(sound.values(), key=statistics.median_low))
            times = {name: slots for name, slots in times.items() if min(slots) <= leader}
            if len(times) == 1:
                break
    alive = [lane for lane in lanes if lane.name in times and not lane.account.faults()]
    return min(alive, key=lambda lane: statistics.median_low(times[lane.name]), default=None)
