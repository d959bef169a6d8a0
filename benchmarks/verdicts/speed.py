"""Is it at least as fast as claimed? A sequential test that may look after every pair and stop when it likes.

Two sign tests share the evidence: one on single pairs, one on the fastest slots of blocks of pairs. The first is
the better one where noise is even, the second where it only ever slows down, as neighbours and interrupts do.

Not here: whether the machine was fit to measure. Nothing here notices pairs whose order was not drawn
by a coin: the caller owes that.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction
from benchmarks.verdicts.sign_test import log_e_of_share, log_e_value

BLOCKS = (1, 4)
"""Pairs in a block, for each of the sign tests; each holds the same share of the stake."""
PERIOD = math.lcm(*BLOCKS)
"""Pairs after which all of them have whole blocks only."""
FEWEST = 12
"""Pairs after which a verdict at 1 % a side, and a finite interval, is possible with both tests having spoken."""


@dataclass(frozen=True)
class SpeedJudgement(Judgement):
    """Speed-up as a ratio (2.0 is twice as fast); too few pairs leave the interval at 0 to infinity."""

    pairs: int
    decided_at: int | None  # pairs seen when the verdict was latched
    tau: float  # the machine's own deviation of ln speed-up
    confidence: float  # of [low, high], at any stopping time


def block_ratios(dense: ArrayLike, compressed: ArrayLike, size: int) -> np.ndarray:
    """ln(fastest dense slot / fastest compressed slot) of each whole block of `size` consecutive pairs.

    Symmetric about the true ratio, as single pairs are: to draw every coin of a block the other way is as likely,
    and exchanges the noise of its sides. ValueError unless both are as long, positive and finite."""
    sides = [np.asarray(side, dtype=float) for side in (dense, compressed)]
    if sides[0].ndim != 1 or sides[0].shape != sides[1].shape:
        raise ValueError(f"dense and compressed slots come in pairs, got {sides[0].shape} and {sides[1].shape}")
    if not all((side > 0).all() and np.isfinite(side).all() for side in sides):
        raise ValueError("seconds must be positive and finite")
    blocks = len(sides[0]) // size
    fastest = [side[: blocks * size].reshape(blocks, size).min(axis=1) for side in sides]
    ratios: np.ndarray = np.log(fastest[0]) - np.log(fastest[1])
    return ratios


@dataclass(frozen=True)
class Evidence:
    """Pairs as the sign tests see them: the sorted log ratios of each block size."""

    ratios: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, dense: ArrayLike, compressed: ArrayLike, sizes: Sequence[int] = BLOCKS) -> "Evidence":
        """Of all whole blocks of `sizes`, a subset of BLOCKS."""
        return cls(tuple(np.sort(block_ratios(dense, compressed, size)) for size in sizes))

    def above(self, cut: float) -> float:
        """ln E against "the median is at most `cut`": falls as the cut rises."""
        return self._log_e(lambda r: r.size - int(np.searchsorted(r, cut, side="right")))

    def below(self, cut: float) -> float:
        """ln E against "the median is at least `cut`": rises with the cut."""
        return self._log_e(lambda r: int(np.searchsorted(r, cut, side="left")))

    def candidates(self) -> np.ndarray:
        """Every ratio, sorted: between two of them no cut changes anything."""
        return np.unique(np.concatenate(self.ratios))

    def centre(self) -> float:
        """The cut that the sign tests together find the middle: where the sum of their (wins - losses) / sqrt(blocks)
        changes its sign. Of single pairs alone it is their median; ties count for neither side."""
        cuts = self.candidates()
        between = (cuts[1:] + cuts[:-1]) / 2
        sums = np.zeros(between.size)
        for r in self.ratios:
            sums += (r.size - 2 * np.searchsorted(r, between)) / math.sqrt(r.size)
        last_positive, first_negative = np.count_nonzero(sums > 0), np.count_nonzero(sums >= 0)
        return float(cuts[last_positive] + cuts[first_negative]) / 2

    def interval(self, alpha: float) -> tuple[float, float]:
        """Every cut that neither direction rejects at 2/alpha; infinite on a side that rejects none."""
        bar, cuts = math.log(2 / alpha), self.candidates()
        low, high = -math.inf, math.inf
        if cuts.size and self.above(-math.inf) >= bar:
            low = float(cuts[bisect_left(cuts, True, key=lambda c: self.above(c) < bar)])
        if cuts.size and self.below(math.inf) >= bar:
            high = float(cuts[bisect_left(cuts, True, key=lambda c: self.below(c) >= bar) - 1])
        return low, high

    def _log_e(self, wins: Callable[[np.ndarray], int]) -> float:
        return mean_log_e([(wins(r), r.size) for r in self.ratios])


def mean_log_e(counts: Sequence[tuple[int, int]]) -> float:
    """ln of the mean of the E of all sign tests; those that are not in counts, (wins, blocks) each, hold their stake
    back."""
    return float(np.logaddexp.reduce([log_e_value(*count) for count in counts])) - math.log(len(BLOCKS))


def whole_sizes(pairs: int) -> tuple[int, ...]:
    """The block sizes of which `pairs` holds whole blocks only. The others do not speak until theirs is complete: to
    stop within a block, seeing how it goes, would be to choose which blocks count."""
    return tuple(size for size in BLOCKS if pairs % size == 0)


def log_speedup(dense: ArrayLike, compressed: ArrayLike) -> float:
    """The estimate of ln(dense / compressed): the middle that all sign tests together find (`Evidence.centre`).

    ValueError on no pairs, as for `block_ratios`."""
    if not np.size(dense):
        raise ValueError("an estimate needs at least one pair")
    return Evidence.of(dense, compressed, [size for size in BLOCKS if size <= np.size(dense)]).centre()


def anytime_interval(dense: ArrayLike, compressed: ArrayLike, alpha: float) -> tuple[float, float]:
    """A 1 - alpha interval for the log of the true ratio that holds at whatever moment one stops.

    It keeps every cut that neither direction rejects at 2/alpha (alpha/2 a side), now or when all block sizes last
    were whole. Same assumptions as `SpeedTest`; natural-log units; infinite where there are too few pairs.
    ValueError on no pairs, as for `block_ratios`."""
    check_fraction("alpha", alpha)
    n = np.size(dense)
    if not n:
        raise ValueError("an interval needs at least one pair")
    low, high = Evidence.of(dense, compressed, whole_sizes(n)).interval(alpha)
    end = n - n % PERIOD
    if 0 < end < n:
        then = Evidence.of(np.asarray(dense)[:end], np.asarray(compressed)[:end]).interval(alpha)
        if max(low, then[0]) <= min(high, then[1]):
            return max(low, then[0]), min(high, then[1])
    return low, high


def estimate(dense: ArrayLike, compressed: ArrayLike, alpha: float) -> tuple[float, float, float]:
    """(estimate, low, high) of dense over compressed, as ratios: `log_speedup`, held to `anytime_interval`."""
    low, high = anytime_interval(dense, compressed, alpha)
    value = min(max(log_speedup(dense, compressed), low), high)
    return math.exp(value), math.exp(low), math.exp(high)


def pairs_to_decide(dense: ArrayLike, compressed: ArrayLike, target: float, tau: float, alpha: float) -> int | None:
    """About how many more pairs would decide, should wins keep coming at the rate seen so far.

    A hint, not a promise: it takes the observed share of wins for the true one. None when that
    takes more than ten times the pairs seen: a share so near one half is not to be told from chance.
    ValueError as for `SpeedTest`, and when there are no pairs.
    """
    pass_cut, fail_cut = _cuts(target, alpha, tau)
    n = np.size(dense)
    if not n:
        raise ValueError("a hint needs at least one pair")
    seen = [(size, r) for size in BLOCKS if (r := block_ratios(dense, compressed, size)).size]
    bar = -math.log(alpha) + math.log(len(BLOCKS))
    found = []
    for shares in ([float(np.mean(r > pass_cut)) for _, r in seen], [float(np.mean(r < fail_cut)) for _, r in seen]):
        if max(shares) <= 0.5:
            continue

        def log_e(total: int, shares: list[float] = shares) -> float:
            parts = [
                log_e_of_share(share * total / size, total / size)
                for share, (size, _) in zip(shares, seen, strict=True)
            ]
            return float(np.logaddexp.reduce(parts))

        # At a fixed share above 1/2, ln E in n falls at most once and then rises, so it crosses once.
        more = bisect_left(range(n, 10 * n + 1), bar, key=log_e)
        if more <= 9 * n:
            found.append(more)
    return min(found, default=None)


class SpeedTest:
    """Sequential test of "at least `target` times as fast", one pair at a time.

    A pair is a slot of the dense and one of the compressed model, in seconds a call. For each block size b of BLOCKS,
    r = ln(fastest dense / fastest compressed) of each block of b pairs, E_b the e-value of its sign test, and
    E = mean of the E_b whose blocks are whole. Pass once E(wins above ln target + g) >= 1/alpha, fail once
    E(losses below ln target - g) >= 1/alpha, looking after every pair; inconclusive at `budget` pairs. A mean of
    supermartingales is one, and at the end of a block each E_b is; so Ville's inequality holds for their mean.
    The guard g = z(1-alpha) * tau allows for a machine that shifts a whole run by a deviation
    `tau` (of ln speed-up): alpha a side for the pairs, and at most alpha more for the shift.
    A ratio exactly on a cut counts for neither side (a coarse clock makes such ties).

    Assumes that a seeded coin drew the order within each pair; multiplicative noise is then
    symmetric about the true ratio however autocorrelated or spiked, and E is exact (`block_ratios`).
    The first crossing is latched: later pairs refine the estimate, never the verdict. With target
    None there is an estimate and no verdict.
    ValueError on target <= 0, alpha outside (0, 0.5), tau < 0, budget < 1, or seconds that are none.
    """

    def __init__(self, target: float | None, *, alpha: float = 0.01, tau: float = 0.0, budget: int = 200):
        self._pass_cut, self._fail_cut = _cuts(1.0 if target is None else target, alpha, tau)
        if budget < 1:
            raise ValueError(f"budget must be at least 1 pair, got {budget}")
        self.target, self.alpha, self.tau, self.budget = target, alpha, tau, budget
        self._wins, self._losses = dict.fromkeys(BLOCKS, 0), dict.fromkeys(BLOCKS, 0)
        self.dense: list[float] = []
        self.compressed: list[float] = []
        self.verdict: Verdict | None = None
        self.decided_at: int | None = None

    @property
    def pairs(self) -> int:
        return len(self.dense)

    @property
    def done(self) -> bool:
        """Whether measuring may stop: decided, the budget is spent, or more pairs will not help."""
        return self.verdict is not None or self.pairs >= self.budget or self.futile

    @property
    def futile(self) -> bool:
        """Whether the interval lies within the bounds that the machine's noise leaves undecided. Stopping for it
        ends in `inconclusive` and so costs neither error rate anything; without tau it never happens."""
        if self.target is None or not self.tau or self.pairs < FEWEST:
            return False
        low, high = anytime_interval(self.dense, self.compressed, 2 * self.alpha)
        return self._fail_cut < low and high < self._pass_cut

    def add(self, dense: float, compressed: float) -> None:
        """Take one pair: seconds a call of each."""
        block_ratios([dense], [compressed], 1)
        self.dense.append(float(dense))
        self.compressed.append(float(compressed))
        whole = whole_sizes(self.pairs)
        for size in whole:
            (ratio,) = block_ratios(self.dense[-size:], self.compressed[-size:], size)
            self._wins[size] += int(ratio > self._pass_cut)
            self._losses[size] += int(ratio < self._fail_cut)
        if self.target is None or self.verdict is not None:
            return
        bar = -math.log(self.alpha)
        passed = mean_log_e([(self._wins[size], self.pairs // size) for size in whole]) >= bar
        if passed or mean_log_e([(self._losses[size], self.pairs // size) for size in whole]) >= bar:
            self.verdict = Verdict.PASS if passed else Verdict.FAIL
            self.decided_at = self.pairs
        elif self.pairs >= self.budget:
            self.verdict = Verdict.INCONCLUSIVE

    def judgement(self) -> SpeedJudgement:
        """The verdict so far with the estimate and its anytime interval, as speed-up ratios.

        The interval takes alpha a side, as the test does, so at the deciding pair it clears the
        widened bound exactly when the verdict says so. Undecided before the budget (the caller ran
        out of time) is inconclusive. ValueError before the first pair.
        """
        value, low, high = estimate(self.dense, self.compressed, 2 * self.alpha)
        verdict = self.verdict or (None if self.target is None else Verdict.INCONCLUSIVE)
        reason = f"speed-up {value:.4g}x [{low:.4g}, {high:.4g}]"
        if self.target is not None:
            reason += f", target {self.target:.4g}x"
            if self.tau:
                wide = f"{math.exp(self._fail_cut):.4g} to {math.exp(self._pass_cut):.4g}"
                reason += f" widened to {wide}x by machine noise of {self.tau:.2%}"
        reason += f", {self.pairs} pairs"
        if self.decided_at is not None:
            reason += f", decided at {self.decided_at}"
        elif verdict is not None:
            reason += self._why_undecided(math.log(value), low, high)
        return SpeedJudgement(
            value, low, high, self.target, verdict, reason,
            self.pairs, self.decided_at, self.tau, 1 - 2 * self.alpha,
        )  # fmt: skip

    def _why_undecided(self, value: float, low: float, high: float) -> str:
        assert self.target is not None
        why = "; budget ended" if self.pairs >= self.budget else f"; stopped short of {self.budget}"
        if self.tau and not low <= self.target <= high:
            why += "; clears the target but not the machine's noise"
        more = pairs_to_decide(self.dense, self.compressed, self.target, self.tau, self.alpha)
        if more is not None:
            return f"{why}; about {max(more, 1)} more pairs would decide"
        if self.tau and self._fail_cut <= value <= self._pass_cut:
            return (
                f"{why}; the machine's noise covers the gap, so more pairs will not help: a quieter hour or fewer "
                "neighbours would, and then `pressbench qualify` anew"
            )
        return f"{why}; too close to the bound for a realistic number of pairs"


def _cuts(target: float, alpha: float, tau: float) -> tuple[float, float]:
    """ln target + g and ln target - g, with g = z(1-alpha) * tau."""
    check_fraction("alpha", alpha, 0.5)
    if not 0 < target < math.inf:
        raise ValueError(f"target must be a positive speed-up, got {target}")
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau must be a finite deviation of at least 0, got {tau}")
    guard = float(special.ndtri(1 - alpha)) * tau
    return math.log(target) + guard, math.log(target) - guard
