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
from benchmarks.preparation.preparation import cpus_of
from benchmarks.qualification.block import TIMEOUT, BlockLane, open_lanes
from benchmarks.qualification.effort import FEWEST, Effort
from benchmarks.verdicts import SpeedTest, log_speedup
from compressors.interface import Hardware, Progress
from compressors.runtimes.controls import bf16_reason

SENSITIVITY = 0.55
"""How much of a change of bandwidth against arithmetic may arrive in a ratio of two real models. No model is
bound by one alone: fp32 against bf16 moved from 1.60 to 2.35 (ln 0.38) when bandwidth halved (ln 0.69)."""
MODELS, PROXY = "fp32/bf16", "matrix product/bandwidth"
PROBES = 3
"""Probes before the pairs of a round, and as many after: one of 60 ms would show its own moment only."""


@dataclass(frozen=True)
class Round:
    """One fresh pair of processes. first, second: seconds of a forward pass in fp32, a slot each, in pairs.
    bf16: the same of bf16, in the slots beside them, empty where it is not native. probes: medians by name."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    bf16: tuple[float, ...]
    probes: Mapping[str, float]

    @property
    def placement(self) -> float:
        """ln(first / second): of two processes that do the same."""
        return log_speedup(self.first, self.second)

    @property
    def control(self) -> float | None:
        """ln(fp32 / bf16), None where bf16 is not native."""
        return log_speedup(self.second, self.bf16) if self.bf16 else None

    @property
    def seconds(self) -> float:
        """Median of a forward pass in fp32."""
        return statistics.median(self.second)

    def to_json(self) -> dict[str, Any]:
        """For the stored qualification."""
        return {"first": self.first, "second": self.second, "bf16": self.bf16, "probes": dict(self.probes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Round | None:
        """The round as it was stored; None where it is not one."""
        try:
            slots = [tuple(map(float, data[side])) for side in ("first", "second", "bf16")]
            found = cls(slots[0], slots[1], slots[2], {str(n): float(v) for n, v in data["probes"].items()})
            return found if math.isfinite(found.placement + (found.control or 0.0)) else None
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
        # Probes have a process of their own, as beside a case: the side that held their arrays read 6 to 9 % slower.
        # One for all rounds, since what a process keeps for its life is the models' part.
        probes = kept.enter_context(
            Worker("probes", cpus=cpus_of(hardware), threads=hardware.threads, held_to=hardware.held_to)
        )
        # In the quick one bf16 stays for all rounds, and the side against it is fresh: a third less to load.
        others = [] if effort.fresh_control or not control else kept.enter_context(open_lanes(*control))
        for number in range(effort.rounds):
            if number >= FEWEST and time.perf_counter() - started > effort.seconds:
                break  # a busy machine; that there are too few is a criterion
            progress("dense against dense", number, effort.rounds)
            with open_lanes(*dense, *(control if effort.fresh_control else ())) as (first, second, *fresh):
                other = next(iter(fresh or others), None)
                samples = [probes.call(probe, hardware, timeout=TIMEOUT) for _ in range(PROBES)]
                test = SpeedTest(None, budget=effort.round.pairs)
                pairs, _ = speed.measure(first, second, other, test, effort.round, seed=coin.getrandbits(32))
                samples += [probes.call(probe, hardware, timeout=TIMEOUT) for _ in range(PROBES)]
            found.append(Round(tuple(pairs.dense), tuple(pairs.compressed), tuple(pairs.control), medians(samples)))
    return found


def control_ratios(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """ln of each ratio of two things with different bottlenecks, a value a round: fp32 against bf16 of one
    model, and the matrix product against memory bandwidth (in power SENSITIVITY)."""
    found: dict[str, list[float]] = {
        MODELS: [control for r in rounds if (control := r.control) is not None],
        PROXY: [
            SENSITIVITY * math.log(r.probes[MATMUL] / r.probes[BANDWIDTH])
            for r in rounds
            if {MATMUL, BANDWIDTH} <= r.probes.keys()
        ],
    }
    return {name: values for name, values in found.items() if values}
