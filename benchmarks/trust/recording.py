"""Real samples: an old and a new version of one model, each in a process of its own, timed in interleaved slots.

Unchanged, both make the same forward passes. A slow-down of 10 % is 22 passes in the new version's slots where the
old makes 20: real work, and exactly so much more of it.
"""

from __future__ import annotations

import dataclasses
import datetime
import platform
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import transformers

from benchmarks.cache import versions
from benchmarks.hardware.devices.cpu import cpu_info, physical_cpus
from benchmarks.measure.forkserver import PRELOAD, context
from benchmarks.measure.lane import Lane
from benchmarks.measure.speed import Budget, measure
from benchmarks.measure.timing import TRIAL
from benchmarks.trust.decisions import ALPHA, MARGIN
from benchmarks.trust.samples import BATCH, LONGEST, PAIRS, Recording, Session
from benchmarks.verdicts import SpeedTest
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.models.vit_digits import MODEL
from benchmarks.zoo.workload import Workload
from compressors import artifact
from compressors.interface import Examples, Hardware

MODEL_CODE = "transformers.models.vit.modeling_vit"


@dataclasses.dataclass(frozen=True)
class SlowDown:
    """`extra` forward passes more in the new version's slots than the old version's `calls`."""

    percent: int
    calls: int
    extra: int


UNCHANGED = SlowDown(0, 20, 0)
SLOW_DOWNS = (SlowDown(2, 50, 1), SlowDown(5, 20, 1), SlowDown(10, 20, 2), SlowDown(20, 20, 4))
ROUND = (UNCHANGED, UNCHANGED, UNCHANGED, SLOW_DOWNS[2], SLOW_DOWNS[2], SLOW_DOWNS[0], SLOW_DOWNS[1], SLOW_DOWNS[3])
"""What one round records, in an order drawn anew each round. Most of it where the goal asks for rates."""


def cpus(hardware: Hardware) -> list[int]:
    """As many CPUs as threads, the same for every process, so that none sits on a CPU that a neighbour slows while
    the other has a free one: that noise would depend on the version, which no order of slots can mend. The last,
    since the first has the interrupts."""
    return physical_cpus()[-hardware.threads :]


class _Slots(Lane):
    """A lane whose slot is a fixed number of passes, in seconds of the whole slot."""

    def slot(self, number: int = TRIAL, seed: int = 0) -> float:
        return super().slot(number, seed) * self.calls


def write_model(folder: Path, hardware: Hardware) -> tuple[Path, Path]:
    """The architecture of vit-digits with random weights, and random pictures: (artifact, examples). Speed
    does not depend on what it has learnt, and so nothing has to be trained or fetched."""
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**MODEL.config())).eval()
    artifact.save(model, folder / "artifact", MODEL.spec())
    examples = folder / "examples.safetensors"
    write_examples(Examples({"pixel_values": torch.rand(BATCH, 1, 8, 8)}), examples)
    return folder / "artifact", examples


def record_pair(
    slow_down: SlowDown, files: tuple[Path, Path], hardware: Hardware, *, seed: int, pairs: int = PAIRS
) -> dict[str, object]:
    """Old and new in fresh workers by the suite's own measurement: `pairs` pairs, and more, up to LONGEST, for as long
    as our rule is undecided."""
    lanes: list[_Slots] = []
    try:
        for name, calls in (("old", slow_down.calls), ("new", slow_down.calls + slow_down.extra)):
            lane = _Slots(name, files[0], hardware, cpus(hardware), files[1], Workload(BATCH), timeout=60.0)
            lanes.append(lane)
            lane.calls = calls
            lane.slot()  # both rivals advise a warm-up: its first slot would count against their means
        test = SpeedTest(1 / MARGIN, alpha=ALPHA, budget=LONGEST)
        budget = Budget(pairs=LONGEST, at_least=pairs, seconds=1e9, linger=1e9)
        taken, _ = measure(lanes[0], lanes[1], None, test, budget, seed=seed)
    finally:
        for lane in lanes:
            lane.close()
    return {"old": taken.dense, "new": taken.compressed, "orders": taken.orders, "seconds": taken.seconds}


def schedule(rounds: int, seed: int) -> Iterator[tuple[int, SlowDown]]:
    """(round, slow-down): every round holds the same ones, shuffled, so that no condition has an hour of its own."""
    coin = random.Random(seed)
    for number in range(rounds):
        yield from ((number, slow_down) for slow_down in coin.sample(ROUND, len(ROUND)))


def record(
    folder: Path, hardware: Hardware, *, rounds: int, seed: int, seconds: float, tell: Callable[[str], None]
) -> Session:
    """Record up to `rounds` rounds, and no further round after `seconds`. `folder` is for the model's files."""
    hardware = dataclasses.replace(hardware, threads=1)  # a pass of 1 to 3 ms gains nothing from a second thread
    # Its import would take half of the time that a worker needs to start.
    context.set_forkserver_preload([*PRELOAD, MODEL_CODE])
    files = write_model(folder, hardware)
    began = time.perf_counter()
    found: list[Recording] = []
    for count, (number, slow_down) in enumerate(schedule(rounds, seed)):
        started = time.perf_counter() - began
        if count % len(ROUND) == 0:
            if started >= seconds:
                tell(f"stopping after {number} of {rounds} rounds: {seconds:.0f} s are over")
                break
            tell(f"round {number + 1} of {rounds}, {started:.0f} s")
        taken = record_pair(slow_down, files, hardware, seed=seed * 100_003 + count)
        facts = {**dataclasses.asdict(slow_down), "round": number, "started": started, **taken}
        found.append(Recording.model_validate(facts))
    return Session(
        seed=seed,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        cpu=str(cpu_info().get("brand_raw", "unknown")),
        cores=len(physical_cpus()),
        threads=hardware.threads,
        system=platform.system(),
        versions={
            "Python": platform.python_version(),
            **{
                n: v for n, v in versions("torch", "transformers", "pytest-benchmark", "asv", "asv_runner").items() if v
            },
        },
        seconds=time.perf_counter() - began,
        recordings=found,
    )
