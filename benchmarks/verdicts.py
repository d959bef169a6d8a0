"""The statistics behind the verdicts: is it as fast as claimed, did it lose more than the margin?

Pure functions over numbers: no I/O, no clocks, nothing from the rest of the project.
Speed: a sign test that may look after every pair and stop when it likes. Accuracy: paired
non-inferiority on the same examples. Both say `inconclusive` rather than guess.
Not here: whether the machine was fit to measure (`unqualified`), history, perplexity. Nothing here
notices examples that are not independent, or pairs whose order was not drawn by a coin: the caller
owes both. Error rates are checked by simulation in tests/benchmarks/test_verdicts.py.
Longer than most files here because its docstrings carry each formula, its assumptions and source.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

FEWEST_DISCORDANT = 10  # with fewer flips a bootstrap resamples almost nothing; exact bounds take over
RESAMPLES = 10_000  # about 3 ms; the 5 % tail is then met to 0.2 %


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNQUALIFIED = "unqualified"
    UNSUPPORTED = "unsupported"
    ERROR = "error"


@dataclass(frozen=True)
class Judgement:
    """An estimate with its interval, the bound it was held to, and the verdict (None without a bound)."""

    value: float
    low: float
    high: float
    bound: float | None
    verdict: Verdict | None
    reason: str  # one line for a person: number, unit, interval, bound


@dataclass(frozen=True)
class SpeedJudgement(Judgement):
    """Speed-up as a ratio (2.0 is twice as fast); too few pairs leave the interval at 0 to infinity."""

    pairs: int
    decided_at: int | None  # pairs seen when the verdict was latched
    tau: float  # the machine's own deviation of ln speed-up
    confidence: float  # of [low, high], at any stopping time


@dataclass(frozen=True)
class AccuracyJudgement(Judgement):
    """Accuracy drop, dense minus compressed, as a fraction (0.01 is one point); negative is a gain."""

    examples: int
    dense_accuracy: float
    compressed_accuracy: float
    correct_to_wrong: int
    wrong_to_correct: int
    minimum_detectable: float
    method: str  # "BCa bootstrap" or "exact binomial"
    confidence: float  # of [low, high], half of the rest on each side


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
    _check_fraction("alpha", alpha)
    if pairs < 0:
        raise ValueError(f"pairs must not be negative, got {pairs}")
    return bisect_left(range(pairs + 1), -math.log(alpha), key=lambda wins: log_e_value(wins, pairs))


def anytime_interval(log_ratios: ArrayLike, alpha: float) -> tuple[float, float]:
    """A 1 - alpha interval for the median log ratio that holds at whatever moment one stops.

    It keeps every m that the e-values of neither side reject at 2/alpha (alpha/2 a side):
    [r_(n-w+1), r_(w)] of the sorted ratios, w = wins_needed(n, alpha/2); infinite where w > n.
    Same assumptions as `log_e_value`; natural-log units. ValueError on empty or non-finite ratios.
    """
    _check_fraction("alpha", alpha)
    ratios = np.sort(_finite("log ratios", log_ratios))
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
    ratios = _finite("log ratios", log_ratios)
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
        """Whether measuring may stop: decided, or the budget is spent."""
        return self.verdict is not None or self.pairs >= self.budget

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


def accuracy_drop(
    dense_correct: ArrayLike,
    compressed_correct: ArrayLike,
    margin: float | None,
    *,
    relative: bool = False,
    alpha: float = 0.05,
    seed: int = 0,
) -> AccuracyJudgement:
    """Paired non-inferiority: did the compressed model lose less than `margin`?

    Both inputs are 0/1 per example, shape (examples,), in the same order. With z_i = y_comp - y_dense
    + margin, or y_comp - (1 - margin) y_dense when `relative`: pass if the one-sided 1 - alpha lower
    bound of mean z is above 0, fail if the upper bound is below 0, else inconclusive. Reported turned
    round, as the drop: pass is high < bound, fail is low > bound. When `relative`, bound is margin x
    dense accuracy as measured, and [low, high] carries the uncertainty of that product too.

    Bounds: BCa bootstrap over examples (Efron 1987), moved out by one example since drops come in such
    steps. With fewer than ten discordant pairs, or constant z (where BCa is undefined), exact binomial
    bounds (Clopper & Pearson 1934) on the rate of flips in each direction, alpha/2 each (alpha/3 with
    the dense accuracy, when `relative`); by the union bound their combined error stays below alpha.
    Assumes independent examples. `seed` fixes the resampling. ValueError on empty input, mismatched
    lengths, values other than 0 and 1, margin outside (0, 1), alpha outside (0, 0.5). With margin None
    the drop is measured and not judged: bound and verdict are None.
    """
    if margin is not None:
        _check_fraction("margin", margin)
    elif relative:
        raise ValueError("a relative margin must be given: the drop itself has no share in it")
    _check_fraction("alpha", alpha, 0.5)
    dense, compressed = _outcomes("dense", dense_correct), _outcomes("compressed", compressed_correct)
    if dense.size != compressed.size:
        raise ValueError(f"lengths differ: {dense.size} dense and {compressed.size} compressed outcomes")
    # The cells of the 2 x 2 table: both correct, correct to wrong, wrong to correct, both wrong.
    cells = np.bincount(2 * ~dense + (dense != compressed), minlength=4)[[0, 1, 3, 2]]
    n, lost, gained = int(cells.sum()), int(cells[1]), int(cells[2])
    share = margin if relative and margin is not None else 0.0
    bounds = None
    if lost + gained >= FEWEST_DISCORDANT:
        bounds = _bca_bounds(cells, share, alpha, seed)
    method = "BCa bootstrap" if bounds else "exact binomial"
    low, high = bounds or _exact_bounds(cells, share, alpha)
    limit = None if margin is None else 0.0 if relative else margin
    verdict = None
    if limit is not None:
        verdict = Verdict.PASS if high < limit else Verdict.FAIL if low > limit else Verdict.INCONCLUSIVE
    shift = share * float(dense.mean())  # from the excess over the allowance back to the drop
    value, low, high = (lost - gained) / n, low + shift, high + shift
    bound = None if limit is None else limit + shift
    detectable = minimum_detectable_effect(n, (lost + gained) / n, alpha)
    reason = (
        f"accuracy drop {_points(value)} [{_points(low)}, {_points(high)}] points"
        + (f", bound {_points(bound)}" if bound is not None else "")
        + f"; {lost} of {n} correct to wrong, {gained} wrong to correct; detectable {_points(detectable)}"
    )
    return AccuracyJudgement(
        value, low, high, bound, verdict, reason, n, float(dense.mean()), float(compressed.mean()),
        lost, gained, detectable, method, 1 - 2 * alpha,
    )  # fmt: skip


def _excess(cells: NDArray[Any], share: float) -> NDArray[np.float64]:
    """-(mean z) up to the absolute margin: drop minus share x dense accuracy, cells on the last axis."""
    both, lost, gained, neither = np.moveaxis(cells, -1, 0)
    return np.asarray((lost - gained - share * (both + lost)) / (both + lost + gained + neither))


def _bca_bounds(cells: NDArray[np.intp], share: float, alpha: float, seed: int) -> tuple[float, float] | None:
    # Drawing n examples with replacement draws the four cell counts from a multinomial, and the mean
    # depends on nothing else: the same bootstrap distribution as scipy.stats.bootstrap, whatever n.
    n = int(cells.sum())
    drawn = _excess(np.random.default_rng(seed).multinomial(n, cells / n, size=RESAMPLES), share)
    seen = float(_excess(cells, share))
    below = (np.mean(drawn < seen) + np.mean(drawn <= seen)) / 2  # half of the ties, as scipy does
    deviation = np.array([-share, 1 - share, -1.0, 0.0]) - seen
    spread = float(cells @ deviation**2)
    if spread <= 1e-12 * n or not 0 < below < 1:
        return None
    bias = special.ndtri(below)
    acceleration = float(cells @ deviation**3) / (6 * spread**1.5)  # the jackknife's, for a mean
    shifted = bias + special.ndtri([alpha, 1 - alpha])
    levels = special.ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(drawn, levels)
    # Drops come in steps of one example. Moving out by that step keeps errors at 5 %: without it
    # they reached 7.8 % with 10 to 40 discordant pairs (all cases enumerated, n = 150 to 3,000).
    return float(low) - 1 / n, float(high) + 1 / n


def _exact_bounds(cells: NDArray[np.intp], share: float, alpha: float) -> tuple[float, float]:
    both, lost, gained, neither = (int(count) for count in cells)
    n = both + lost + gained + neither
    split = 2 * alpha / (3 if share else 2)  # two-sided, so half of it on each side
    lost_low, lost_high = proportion_interval(lost, n, split)
    gained_low, gained_high = proportion_interval(gained, n, split)
    dense_low, dense_high = proportion_interval(both + lost, n, split) if share else (0.0, 0.0)
    return lost_low - gained_high - share * dense_high, lost_high - gained_low - share * dense_low


def minimum_detectable_effect(examples: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The drop (a fraction) told from none with probability `power`, one-sided at `alpha`.

    Also the least margin that a lossless model with this discordance clears that often.
    c sqrt(D/n) with c = z(1-alpha) + z(power), the normal approximation for paired proportions
    (Miettinen 1968); D, the share of examples that flip, is taken as at least c^2/n, since a drop
    cannot exceed the discordance: a test set without flips is not infinitely sharp.
    ValueError on examples < 1, discordance outside [0, 1], alpha outside (0, 0.5), power outside (0.5, 1).
    """
    _check_fraction("alpha", alpha, 0.5)
    if examples < 1 or not 0 <= discordance <= 1 or not 0.5 < power < 1:
        raise ValueError(f"bad examples, discordance or power: {examples}, {discordance}, {power}")
    reach = float(special.ndtri(1 - alpha) + special.ndtri(power))
    return min(1.0, reach * math.sqrt(max(discordance, reach**2 / examples) / examples))


def resolves(examples: int, margin: float, alpha: float = 0.05, *, dense_accuracy: float | None = None) -> str | None:
    """None if a compressed model that flips nothing would pass, else why not and how many it takes.

    Uses the bounds that `accuracy_drop` would: without flips, 1 - (alpha/2)^(1/n) < margin. Give
    `dense_accuracy` (a fraction) where the margin is relative to it. ValueError on examples < 1,
    margin outside (0, 1), alpha outside (0, 0.5), dense accuracy outside (0, 1].
    """
    _check_fraction("margin", margin)
    _check_fraction("alpha", alpha, 0.5)
    if examples < 1 or (dense_accuracy is not None and not 0 < dense_accuracy <= 1):
        raise ValueError(f"bad number of examples or dense accuracy: {examples}, {dense_accuracy}")
    share, limit = (0.0, margin) if dense_accuracy is None else (margin, 0.0)

    def passes(n: int) -> bool:
        correct = round(n * (1.0 if dense_accuracy is None else dense_accuracy))
        return _exact_bounds(np.array([correct, 0, 0, n - correct]), share, alpha)[1] < limit

    if passes(examples):
        return None
    needed = examples + 1 + bisect_left(range(examples + 1, 10**9), True, key=passes)
    allowed = f"{_points(margin)} points" if dense_accuracy is None else f"{margin:.2%} of the dense accuracy"
    return f"{examples} examples cannot resolve a margin of {allowed} even without a flip: needs {needed}"


def proportion_interval(successes: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Exact 1 - alpha interval of a binomial proportion, alpha/2 a side (Clopper & Pearson 1934).

    Assumes independent trials; at least nominal coverage. ValueError unless 0 <= successes <= n, n >= 1.
    """
    _check_fraction("alpha", alpha)
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"successes must lie between 0 and n >= 1, got {successes} of {n}")
    interval = stats.binomtest(successes, n).proportion_ci(1 - alpha, method="exact")
    return float(interval.low), float(interval.high)


def _cuts(target: float, alpha: float, tau: float) -> tuple[float, float]:
    """ln target + g and ln target - g, with g = z(1-alpha) * tau."""
    _check_fraction("alpha", alpha, 0.5)
    if not 0 < target < math.inf:
        raise ValueError(f"target must be a positive speed-up, got {target}")
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau must be a finite deviation of at least 0, got {tau}")
    guard = float(special.ndtri(1 - alpha)) * tau
    return math.log(target) + guard, math.log(target) - guard


def _check_fraction(name: str, value: float, below: float = 1.0) -> None:
    if not 0 < value < below:
        raise ValueError(f"{name} must be above 0 and below {below:g}, got {value}")


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a non-empty list of finite numbers")
    return array


def _outcomes(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = _finite(f"{name} outcomes", values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name} outcomes must be 0 or 1 per example")
    return array.astype(bool)


def _points(fraction: float) -> str:
    return f"{100 * fraction:.4g}"
