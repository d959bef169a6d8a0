"""Paired, interleaved timing: dense, compressed and the best control take turns, in an order drawn by a
seeded coin, so that the machine's drift hits all of them alike.

Each lives in its own worker. Timing two runtimes in one process is not possible: with torch, ONNX
Runtime and OpenVINO alternating in one, a 17 ms forward pass took 1,000 ms.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from benchmarks.measure.lane import Timed
from benchmarks.verdicts import FEWEST, SpeedJudgement, SpeedTest
from compressors.interface import Progress, no_progress


@dataclass(frozen=True)
class Budget:
    """How much may be spent on one case. pairs, seconds: at most, until a verdict; where a pair takes so long that
    `seconds` are fewer than `fair` pairs it goes on to those, within `patience` seconds. at_least: pairs that
    are taken even when the verdict came sooner, so that the interval is worth printing, unless
    `linger` seconds have gone by (and never fewer than `fewest`, from which the interval is finite)."""

    pairs: int = 200
    seconds: float = 60.0
    at_least: int = 20
    linger: float = 6.0
    fewest: int = FEWEST
    fair: int = 0
    patience: float = 0.0


@dataclass
class Pairs:
    """What was measured: seconds a call by slot, and who went first.

    control and against are empty where there was no such lane. orders: for each round the lanes in the order in which
    they ran, as letters (d)ense, (c)ompressed, (b)est control, (a)gainst."""

    dense: list[float] = field(default_factory=list)
    compressed: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    against: list[float] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    seconds: float = 0.0


def measure(
    dense: Timed, compressed: Timed, control: Timed | None, test: SpeedTest, budget: Budget, *, seed: int,
    inputs: int = 0, against: Timed | None = None, progress: Progress = no_progress,
) -> tuple[Pairs, SpeedJudgement]:  # fmt: skip
    """Take pairs until the test has decided, or the budget is spent. seed: of the coin. inputs: of what the calls are
    given, the same on all sides of a pair."""
    coin = random.Random(seed)
    pairs = Pairs()
    lanes = {"d": (dense, pairs.dense), "c": (compressed, pairs.compressed)}
    if control is not None:
        lanes["b"] = (control, pairs.control)
    if against is not None:
        lanes["a"] = (against, pairs.against)
    started = time.perf_counter()
    while True:
        order = list(lanes)
        coin.shuffle(order)
        for letter in order:
            lane, samples = lanes[letter]
            samples.append(lane.slot(len(pairs.orders), inputs))
        pairs.orders.append("".join(order))
        test.add(pairs.dense[-1], pairs.compressed[-1])
        count, spent = len(pairs.orders), time.perf_counter() - started
        progress("timing", min(count, budget.at_least), budget.at_least)
        decided = test.target is None or test.done or count >= budget.pairs
        timed_out = spent >= (budget.seconds if count >= budget.fair else max(budget.seconds, budget.patience))
        if (decided or timed_out) and count >= budget.fewest and (count >= budget.at_least or spent >= budget.linger):
            break
    pairs.seconds = time.perf_counter() - started
    return pairs, test.judgement()
