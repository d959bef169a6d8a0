"""Did it lose more accuracy than the margin? Paired non-inferiority on the same examples.

Says `inconclusive` rather than guess. Nothing here notices examples that are not independent.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction, finite_list, points

FEWEST_DISCORDANT = 10  # with fewer flips a bootstrap resamples almost nothing; exact bounds take over
RESAMPLES = 10_000  # about 3 ms; the 5 % tail is then met to 0.2 %


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
        check_fraction("margin", margin)
    elif relative:
        raise ValueError("a relative margin must be given: the drop itself has no share in it")
    check_fraction("alpha", alpha, 0.5)
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
        f"accuracy drop {points(value)} [{points(low)}, {points(high)}] points"
        + (f", bound {points(bound)}" if bound is not None else "")
        + f"; {lost} of {n} correct to wrong, {gained} wrong to correct; detectable {points(detectable)}"
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
    check_fraction("alpha", alpha, 0.5)
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
    check_fraction("margin", margin)
    check_fraction("alpha", alpha, 0.5)
    if examples < 1 or (dense_accuracy is not None and not 0 < dense_accuracy <= 1):
        raise ValueError(f"bad number of examples or dense accuracy: {examples}, {dense_accuracy}")
    share, limit = (0.0, margin) if dense_accuracy is None else (margin, 0.0)

    def passes(n: int) -> bool:
        correct = round(n * (1.0 if dense_accuracy is None else dense_accuracy))
        return _exact_bounds(np.array([correct, 0, 0, n - correct]), share, alpha)[1] < limit

    if passes(examples):
        return None
    needed = examples + 1 + bisect_left(range(examples + 1, 10**9), True, key=passes)
    allowed = f"{points(margin)} points" if dense_accuracy is None else f"{margin:.2%} of the dense accuracy"
    return f"{examples} examples cannot resolve a margin of {allowed} even without a flip: needs {needed}"


def proportion_interval(successes: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Exact 1 - alpha interval of a binomial proportion, alpha/2 a side (Clopper & Pearson 1934).

    Assumes independent trials; at least nominal coverage. ValueError unless 0 <= successes <= n, n >= 1.
    """
    check_fraction("alpha", alpha)
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"successes must lie between 0 and n >= 1, got {successes} of {n}")
    interval = stats.binomtest(successes, n).proportion_ci(1 - alpha, method="exact")
    return float(interval.low), float(interval.high)


def _outcomes(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = finite_list(f"{name} outcomes", values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name} outcomes must be 0 or 1 per example")
    return array.astype(bool)
