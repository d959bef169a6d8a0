"""Is it at least as fast as claimed? A sign test that may look after every pair and stop when it likes.

Not here: whether the machine was fit to measure. Nothing here notices pairs whose order was not drawn
by a coin: the caller owes that.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction, finite_list


@dataclass(frozen=True)
class SpeedJudgement(Judgement):
    """Speed-up as a ratio (2.0 is twice as fast); too few pairs leave the interval at 0 to infinity."""

    pairs: int
    decided_at: int | None  # pairs seen when the verdict was latched
    tau: float  # the machine's own deviation of ln speed-up
    confidence: float  # of [low, high], at any stopping time


def log_e_value(wins: int, pairs: int) -> float:
    """ln E of the sign test with a uniform(1/2, 1) mixture, against "a win is no likelier than 1/2".

    E = integral over p in (1/2, 1) of 2 p^k (1-p)^(n-k) / 2^-n, hence
    ln E = (n+1) ln 2 + betaln(k+1, n-k+1) + ln betaincc(k+1, n-k+1, 1/2).
    E is a supermartingale wherever each win has probability at most 1/2 given the past, so it
    ever reaches 1/alpha with probability at most alpha (Ville 1939; Howard et al. 2021; Ramdas et
    al. 2023). Accurate to 1e-9 up to 1e5 pairs. ValueError unless 0 <= wins <= pairs.
    """
    if not 0 <= wins <= pairs < math.inf:
        raise ValueError(f"wins must lie between 0 and pairs, got {wins} of {pairs}")
    return _log_e(wins, pairs)


def _log_e(k: float, n: float) -> float:
    tail = float(special.betaincc(k + 1, n - k + 1, 0.5))
    if tail > 1e-280:
        return float((n + 1) * math.log(2) + special.betaln(k + 1, n - k + 1) + math.log(tail))
    # Far below one half the tail underflows. The same integral as a sum of positive terms does not:
    # E = sum_i prod_{t<i} (k-t)/(n-k+2+t) / (n-k+1).
    t = np.arange(k)
    return float(np.log1p(np.cumprod((k - t) / (n - k + 2 + t)).sum()) - math.log(n - k + 1))


@cache
def wins_needed(pairs: int, alpha: float) -> int:
    """The least wins among `pairs` with E >= 1/alpha; pairs + 1 where even all wins are too few.

    ValueError unless pairs >= 0 and alpha is in (0, 1).
    """
    check_fraction("alpha", alpha)
    if pairs < 0:
        raise ValueError(f"pairs must not be negative, got {pairs}")
    return bisect_left(range(pairs + 1), -math.log(alpha), key=lambda wins: log_e_value(wins, pairs))


def anytime_interval(log_ratios: ArrayLike, alpha: float) -> tuple[float, float]:
    """A 1 - alpha interval for the median log ratio that holds at whatever moment one stops.

    It keeps every m that the e-values of neither side reject at 2/alpha (alpha/2 a side):
    [r_(n-w+1), r_(w)] of the sorted ratios, w = wins_needed(n, alpha/2); infinite where w > n.
    Same assumptions as `log_e_value`; natural-log units. ValueError on empty or non-finite ratios.
    """
    check_fraction("alpha", alpha)
    ratios = np.sort(finite_list("log ratios", log_ratios))
    needed = wins_needed(ratios.size, alpha / 2)
    if needed > ratios.size:
        return -math.inf, math.inf
    return float(ratios[ratios.size - needed]), float(ratios[needed - 1])


def pairs_to_decide(log_ratios: ArrayLike, target: float, tau: float, alpha: float) -> int | None:
    """About how many more pairs would decide, should wins keep coming at the rate seen so far.

    A hint, not a promise: it takes the observed share of wins for the true one. None when that
    takes more than ten times the pairs seen: a share so near one half is not to be told from chance.
    ValueError as for `SpeedTest`, and when there are no ratios.
    """
    pass_cut, fail_cut = _cuts(target, alpha, tau)
    ratios = finite_list("log ratios", log_ratios)
    n = ratios.size
    share = max(np.count_nonzero(ratios > pass_cut), np.count_nonzero(ratios < fail_cut)) / n
    if share <= 0.5:
        return None
    # At a fixed share above 1/2, ln E in n falls at most once and then rises, so it crosses once.
    more = bisect_left(range(n, 10 * n + 1), -math.log(alpha), key=lambda total: _log_e(share * total, total))
    return more if more <= 9 * n else None


class SpeedTest:
    """Sequential test of "at least `target` times as fast", one pair at a time.

    r = ln(dense / compressed) of each pair. Pass once E(wins above ln target + g) >= 1/alpha, fail
    once E(losses below ln target - g) >= 1/alpha, looking after every pair; inconclusive at `budget`
    pairs. The guard g = z(1-alpha) * tau allows for a machine that shifts a whole run by a deviation
    `tau` (of ln speed-up): alpha a side for the pairs, and at most alpha more for the shift.
    A ratio exactly on a cut counts for neither side (a coarse clock makes such ties).

    Assumes that a seeded coin drew the order within each pair; multiplicative noise is then
    symmetric about the true ratio however autocorrelated or spiked, and E is exact (`log_e_value`).
    The first crossing is latched: later pairs refine the estimate, never the verdict. With target
    None there is an estimate and no verdict.
    ValueError on target <= 0, alpha outside (0, 0.5), tau < 0, budget < 1, or a non-finite ratio.
    """

    def __init__(self, target: float | None, *, alpha: float = 0.01, tau: float = 0.0, budget: int = 200):
        self._pass_cut, self._fail_cut = _cuts(1.0 if target is None else target, alpha, tau)
        if budget < 1:
            raise ValueError(f"budget must be at least 1 pair, got {budget}")
        self.target, self.alpha, self.tau, self.budget = target, alpha, tau, budget
        self.log_ratios: list[float] = []
        self.verdict: Verdict | None = None
        self.decided_at: int | None = None
        self._wins = self._losses = 0

    @property
    def pairs(self) -> int:
        return len(self.log_ratios)

    @property
    def done(self) -> bool:
        """Whether measuring may stop: decided, the budget is spent, or more pairs will not help."""
        return self.verdict is not None or self.pairs >= self.budget or self.futile

    @property
    def futile(self) -> bool:
        """Whether the interval lies within the bounds that the machine's noise leaves undecided. Stopping for it
        ends in `inconclusive` and so costs neither error rate anything; without tau it never happens."""
        if self.target is None or not self.tau or not self.pairs:
            return False
        low, high = anytime_interval(self.log_ratios, 2 * self.alpha)
        return self._fail_cut < low and high < self._pass_cut

    def add(self, log_ratio: float) -> None:
        """Take one pair's ln(dense / compressed)."""
        if not math.isfinite(log_ratio):
            raise ValueError(f"a log ratio must be finite, got {log_ratio}")
        self.log_ratios.append(float(log_ratio))
        self._wins += log_ratio > self._pass_cut
        self._losses += log_ratio < self._fail_cut
        if self.target is None or self.verdict is not None:
            return
        needed = wins_needed(self.pairs, self.alpha)
        if self._wins >= needed or self._losses >= needed:
            self.verdict = Verdict.PASS if self._wins >= needed else Verdict.FAIL
            self.decided_at = self.pairs
        elif self.pairs >= self.budget:
            self.verdict = Verdict.INCONCLUSIVE

    def judgement(self) -> SpeedJudgement:
        """The verdict so far with exp(median r) and its anytime interval, as speed-up ratios.

        The interval takes alpha a side, as the test does, so at the deciding pair it clears the
        widened bound exactly when the verdict says so. Undecided before the budget (the caller ran
        out of time) is inconclusive. ValueError before the first pair.
        """
        low, high = anytime_interval(self.log_ratios, 2 * self.alpha)
        value = float(np.median(self.log_ratios))
        verdict = self.verdict or (None if self.target is None else Verdict.INCONCLUSIVE)
        reason = f"speed-up {math.exp(value):.4g}x [{math.exp(low):.4g}, {math.exp(high):.4g}]"
        if self.target is not None:
            reason += f", target {self.target:.4g}x"
            if self.tau:
                wide = f"{math.exp(self._fail_cut):.4g} to {math.exp(self._pass_cut):.4g}"
                reason += f" widened to {wide}x by machine noise of {self.tau:.2%}"
        reason += f", {self.pairs} pairs"
        if self.decided_at is not None:
            reason += f", decided at {self.decided_at}"
        elif verdict is not None:
            reason += self._why_undecided(value, low, high)
        return SpeedJudgement(
            math.exp(value), math.exp(low), math.exp(high), self.target, verdict, reason,
            self.pairs, self.decided_at, self.tau, 1 - 2 * self.alpha,
        )  # fmt: skip

    def _why_undecided(self, value: float, low: float, high: float) -> str:
        assert self.target is not None
        why = "; budget ended" if self.pairs >= self.budget else f"; stopped short of {self.budget}"
        if self.tau and not low <= math.log(self.target) <= high:
            why += "; clears the target but not the machine's noise"
        more = pairs_to_decide(self.log_ratios, self.target, self.tau, self.alpha)
        if more is not None:
            return f"{why}; about {max(more, 1)} more pairs would decide"
        if self.tau and self._fail_cut <= value <= self._pass_cut:
            return f"{why}; the machine's noise covers the gap, so more pairs will not help"
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
