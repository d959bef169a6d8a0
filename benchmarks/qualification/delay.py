"""Is a delay of 5 % found? One of two fresh workers is slowed by just that, inside the time that is taken.

The rule: with the slowed one in the place of the compressed model the true ratio is 1/1.05. The suite's own
test at its own α is asked for "at least 1/1.025 times as fast", half of the delay away, without any allowance
for τ. `fail` within the budget is a delay found. Dense against dense, held against the same target, must
never be a `fail`: a machine that finds delays everywhere finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.measure import speed
from benchmarks.measure.speed import Budget
from benchmarks.qualification.block import BlockLane, open_lanes
from benchmarks.verdicts import SpeedTest, Verdict
from compressors.interface import Hardware, Progress

DELAY = 0.05
TARGET = 1 / (1 + DELAY / 2)
ALPHA = 0.01


@dataclass(frozen=True)
class Delay:
    """What came of it. pairs: taken; found_at: the pair that decided, None where it was not found.
    ratio, low, high: plain over slowed, with the anytime interval."""

    found: bool
    pairs: int
    found_at: int | None
    ratio: float
    low: float
    high: float


def inject(hardware: Hardware, budget: Budget, *, seed: int, progress: Progress) -> Delay:
    """Time a plain worker against a slowed one."""
    test = SpeedTest(TARGET, alpha=ALPHA, budget=budget.pairs)
    makers = (partial(BlockLane, "plain", hardware), partial(BlockLane, "slowed", hardware, delay=DELAY))
    with open_lanes(*makers) as (plain, slowed):
        speed.measure(plain, slowed, None, test, budget, seed=seed, progress=progress)
    return judge(test)


def found_in(plain: Sequence[float], other: Sequence[float]) -> Delay:
    """The same question to pairs that were taken anyway."""
    test = SpeedTest(TARGET, alpha=ALPHA, budget=max(1, len(plain)))
    for pair in zip(plain, other, strict=True):
        test.add(*pair)
    return judge(test)


def judge(test: SpeedTest) -> Delay:
    """What the test says of a delay."""
    judged = test.judgement()
    found = judged.verdict == Verdict.FAIL
    at = judged.decided_at if found else None
    return Delay(found, judged.pairs, at, judged.value, judged.low, judged.high)
