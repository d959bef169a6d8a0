"""The noise floor: what the suite's own pairs say where there is nothing to find.

A round is a fresh pair of processes with the same model, timed as every case is, with bf16 of the same
model as the third lane where the hardware computes it, and then both probes. Within a round the scatter of
pairs shows; between rounds, what a process keeps for its life (placement of memory, for one).
"""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.measure import speed
from benchmarks.measure.conditions import medians
from benchmarks.measure.probes import BANDWIDTH, MATMUL, probe
from benchmarks.measure.worker import Worker
from benchmarks.preparation import cpus_of
from benchmarks.qualification.block import TIMEOUT, BlockLane, open_lanes
from benchmarks.qualification.effort import FEWEST, Effort
from benchmarks.verdicts import SpeedTest
from compressors.interface import Hardware, Progress
from compressors.runtimes.controls import bf16_reason

SENSITIVITY = 0.55
"""How much of a change of bandwidth against arithmetic arrives in a ratio of two real models. No model is
bound by one alone: fp32 against bf16 moved from 1.60 to 2.35 (ln 0.38) when bandwidth halved (ln 0.69)."""
PROBES = 3
"""Probes before the pairs of a round, and as many after: one of 60 ms would show its own moment only."""


@dataclass(frozen=True)
class Round:
    """One fresh pair of processes. dense: ln(dense / dense) a pair; bf16: ln(fp32 / bf16) a pair, empty
    where bf16 is not native. probes: their medians by name. seconds: median of a forward pass in fp32."""

    dense: tuple[float, ...]
    bf16: tuple[float, ...]
    probes: Mapping[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For the stored qualification."""
        return {"dense": self.dense, "bf16": self.bf16, "probes": dict(self.probes), "seconds": self.seconds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Round | None:
        """The round as it was stored; None where it is not one."""
        try:
            return cls(
                tuple(map(float, data["dense"])),
                tuple(map(float, data["bf16"])),
                {str(name): float(value) for name, value in data["probes"].items()},
                float(data["seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def measure_rounds(hardware: Hardware, effort: Effort, *, seed: int, progress: Progress) -> list[Round]:
    """Every round of one qualification. Raises WorkerError where a worker fails: then nothing is qualified."""
    found = []
    coin = random.Random(seed)
    started = time.perf_counter()
    dense = [partial(BlockLane, f"dense {n}", hardware) for n in (1, 2)]
    control = [partial(BlockLane, "bf16", hardware, dtype="bfloat16")] if bf16_reason(hardware) is None else []
    with contextlib.ExitStack() as kept:
        # In the quick one bf16 stays for all rounds, and the side against it is fresh: a third less to load.
        others = [] if effort.fresh_control or not control else kept.enter_context(open_lanes(*control))
        for number in range(effort.rounds):
            if number >= FEWEST and time.perf_counter() - started > effort.seconds:
                break  # a busy machine; that there are too few is a criterion
            progress("dense against dense", number, effort.rounds)
            with open_lanes(*dense, *(control if effort.fresh_control else ())) as (first, second, *fresh):
                other = next(iter(fresh or others), None)
                found.append(_round(hardware, effort, first, second, other, coin.getrandbits(32)))
    return found


def _round(
    hardware: Hardware, effort: Effort, first: BlockLane, second: BlockLane, other: BlockLane | None, seed: int
) -> Round:
    test = SpeedTest(None, budget=effort.round.pairs)
    # Probes have a process of their own, as beside a case: the side that held their arrays read 6 to 9 % slower.
    with Worker("probes", cpus=cpus_of(hardware), threads=hardware.threads) as probes:
        samples = [probes.call(probe, hardware, timeout=TIMEOUT) for _ in range(PROBES)]
        pairs, _ = speed.measure(first, second, other, test, effort.round, seed=seed)
        samples += [probes.call(probe, hardware, timeout=TIMEOUT) for _ in range(PROBES)]
    # fp32 is the lane "compressed" here, hence ln(bf16 / fp32); the ratio of interest is its inverse.
    bf16 = tuple(-r for r in pairs.log_ratios_to_control())
    return Round(tuple(pairs.log_ratios()), bf16, medians(samples), statistics.median(pairs.compressed))


def control_ratios(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """ln of each ratio of two things with different bottlenecks, a value a round: fp32 against bf16 of one
    model, and the matrix product against memory bandwidth (in power SENSITIVITY)."""
    found: dict[str, list[float]] = {
        "fp32/bf16": [statistics.median(r.bf16) for r in rounds if r.bf16],
        "matrix product/bandwidth": [
            SENSITIVITY * math.log(r.probes[MATMUL] / r.probes[BANDWIDTH])
            for r in rounds
            if {MATMUL, BANDWIDTH} <= r.probes.keys()
        ],
    }
    return {name: values for name, values in found.items() if values}
