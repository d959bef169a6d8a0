"""Every rule on every comparison of an old with a new version: how often it alarms, and what that cost.

Our rule, fixed before anything was recorded: the sequential test of "at least 1/1.05 as fast" at 1 % a side, on
interleaved pairs, up to a budget. Alarm is its `fail`. `pass` says that the new version is not 5 % slower.
`inconclusive` says neither: no alarm, and no all-clear.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.trust.nights import Night
from benchmarks.trust.rivals import Rival, Side
from benchmarks.trust.samples import LONGEST, PAIRS, Session
from benchmarks.verdicts import SpeedTest, Verdict, proportion_interval

MARGIN = 1.05
ALPHA = 0.01
PERCENTS = (0, 2, 5, 10, 20)
SAME_MINUTE = "same minute"
NIGHT_TO_NIGHT = "night to night"


@dataclass(frozen=True)
class Comparison:
    """old and new in pairs, and the old version as an earlier process left it (None where there is none)."""

    percent: int
    old: Sequence[float]
    new: Sequence[float]
    stored: Sequence[float] | None
    pair_seconds: float


@dataclass
class Rate:
    """Alarms among decisions."""

    alarms: int = 0
    decisions: int = 0

    def add(self, alarm: bool) -> None:
        """Count one decision."""
        self.alarms += alarm
        self.decisions += 1

    @property
    def share(self) -> float:
        """Alarms a decision."""
        return self.alarms / self.decisions if self.decisions else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % (Clopper and Pearson)."""
        return proportion_interval(self.alarms, self.decisions, 0.05)


@dataclass
class RivalRow:
    """One rule of others in one setting. seconds: timed in the slots it looked at, by percent."""

    rule: str
    setting: str
    rates: dict[int, Rate] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)


@dataclass
class OurRow:
    """Our rule with one budget of pairs. seconds: by the clock, until it stopped, by percent."""

    budget: int
    verdicts: dict[int, Counter[Verdict]] = field(default_factory=dict)
    pairs: dict[int, list[int]] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def rate(self, percent: int) -> Rate:
        """Its alarms: the verdict fail."""
        counts = self.verdicts.get(percent, Counter())
        return Rate(counts[Verdict.FAIL], counts.total())


@dataclass
class Tally:
    """All rules on the same comparisons."""

    ours: list[OurRow]
    rivals: list[RivalRow]


def decide(old: Sequence[float], new: Sequence[float], budget: int) -> tuple[Verdict, int]:
    """Our verdict on paired slots, and how many pairs it looked at."""
    test = SpeedTest(1 / MARGIN, alpha=ALPHA, budget=budget)
    for before, after in zip(old, new, strict=True):
        test.add(before, after)
        if test.done:
            break
    return test.verdict or Verdict.INCONCLUSIVE, test.pairs


def tally(
    comparisons: Iterable[Comparison], rules: Sequence[Rival], budgets: Sequence[int] = (PAIRS, LONGEST)
) -> Tally:
    """Every rule on every comparison. The others see as many slots as one recording has."""
    ours = [OurRow(budget) for budget in budgets]
    others = [(rule, RivalRow(rule.name, setting)) for setting in (SAME_MINUTE, NIGHT_TO_NIGHT) for rule in rules]
    for one in comparisons:
        for row in ours:
            verdict, pairs = decide(one.old, one.new, row.budget)
            row.verdicts.setdefault(one.percent, Counter())[verdict] += 1
            row.pairs.setdefault(one.percent, []).append(pairs)
            row.seconds.setdefault(one.percent, []).append(pairs * one.pair_seconds)
        new = Side(one.new[:PAIRS])
        sides = {SAME_MINUTE: Side(one.old[:PAIRS])}
        if one.stored is not None:
            sides[NIGHT_TO_NIGHT] = Side(one.stored[:PAIRS])
        for rule, rival in others:
            if rival.setting in sides:
                old = sides[rival.setting]
                rival.rates.setdefault(one.percent, Rate()).add(rule.alarms(old, new))
                # The stored side was paid for on its own night.
                timed = [new, old] if rival.setting == SAME_MINUTE else [new]
                rival.seconds.setdefault(one.percent, []).append(sum(sum(s.samples[: rule.samples]) for s in timed))
    return Tally(ours, [row for _, row in others])


def stored_rounds(session: Session) -> int:
    """How many rounds lie between a stored result and the run it is compared with: a quarter of the session."""
    return max(1, (1 + max(r.round for r in session.recordings)) // 4)


def recorded(session: Session) -> Iterator[Comparison]:
    """The real pairs. The stored result is the old version of the same slow-down a quarter of the session
    earlier, and each is used once; the first quarter has none."""
    gap = stored_rounds(session)
    for percent in PERCENTS:
        mine = session.of(percent)
        for position, one in enumerate(mine):
            within = position - next(i for i, r in enumerate(mine) if r.round == one.round)
            earlier = [r for r in mine if r.round == one.round - gap]
            stored = earlier[within].old if within < len(earlier) else None
            yield Comparison(percent, one.old, one.new, stored, one.seconds / len(one.old))


def simulated(nights: Iterable[Night]) -> Iterator[Comparison]:
    """Each night unchanged and with every slow-down, on the same noise."""
    for night in nights:
        for percent in PERCENTS:
            new = night.new * (1 + percent / 100)
            yield Comparison(percent, _floats(night.old), _floats(new), _floats(night.stored), night.pair_seconds)


def _floats(values: np.ndarray) -> list[float]:
    return [float(v) for v in values]
