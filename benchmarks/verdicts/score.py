"""Did scores fall by more than the bound? Paired non-inferiority of one score in [0, 1] an example.

For what is neither right nor wrong as a whole: the chrF or ROUGE-L of a sentence, the share of its words that are
right. Nothing here notices examples that are not independent of one another: the caller owes that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction, finite_list, points
from benchmarks.verdicts.whole_examples import ratio_bounds

FEWEST_SCORED = 200  # one answer in fifty that derails is not seen among fewer: 29 % false passes with 50, 15 with 100
FEWEST_CHANGED = 10  # with fewer examples that changed a bootstrap resamples almost nothing; Stringer bounds take over


@dataclass(frozen=True)
class ScoreJudgement(Judgement):
    """Drop of the score, dense minus compressed, as a fraction of 1 (0.01 is one point); negative is a gain."""

    examples: int
    lower: int  # examples that score lower than before
    higher: int
    dense_score: float
    compressed_score: float
    minimum_detectable: float  # the drop told from none in four of five cases
    method: str  # "BCa bootstrap", "Stringer bound", or "constant", where every example loses the same
    confidence: float  # of [low, high], half of the rest on each side


def score_drop(
    dense: ArrayLike,
    compressed: ArrayLike,
    bound: float | None,
    *,
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    name: str = "score",
) -> ScoreJudgement:
    """Paired non-inferiority: did the score fall by less than `bound`?

    dense, compressed: scores in [0, 1], shape (examples,), in the same order. weights: above 0, shape (examples,),
    such as the number of words of which a score is a share; None weighs all alike. The drop is D = sum(w (dense -
    compressed)) / sum(w): with words as weights the drop of the share of all words. Pass if its one-sided 1 - alpha
    upper bound is below `bound`, fail if the lower bound is above, else inconclusive.

    Bounds: `whole_examples.ratio_bounds`, the BCa bootstrap of D over whole examples. With fewer than ten examples
    that changed, Stringer's bound (1963; Bickel 1992 on its coverage): p(0) + sum over the losses t1 >= t2 >= … of
    (p(j) - p(j-1)) tj, p(j) the 1 - alpha Clopper-Pearson bound of j in n, times the largest weight over the mean
    where t are shares of the largest; what was gained is not set against it. Lower bound: the same of the gains.
    So that no example changed does not mean that none ever will: 200 such examples bound the drop by 1.5 points.
    Assumes independent examples, and that the tail which matters is among them (docs/statistics.md).
    `seed` fixes the resampling; name: what `reason` calls the score. ValueError on mismatched lengths, fewer
    than two examples, scores outside [0, 1], weights that are not above 0, bound outside (0, 1), alpha outside
    (0, 0.5), fewer than 200 examples with a bound. With bound None the drop is measured and not judged.
    """
    check_fraction("alpha", alpha, 0.5)
    if bound is not None:
        check_fraction("bound", bound)
    before, after = _scores("dense", dense), _scores("compressed", compressed)
    weighed = np.ones(before.size) if weights is None else finite_list("weights", weights)
    if not before.size == after.size == weighed.size:
        raise ValueError(
            f"numbers of examples differ: {before.size} dense, {after.size} compressed, {weighed.size} weights"
        )
    if (weighed <= 0).any():
        raise ValueError("weights must be above 0")
    if before.size < 2:
        raise ValueError("scores of one example have no interval: needs two")
    if bound is not None and (too_few := resolves_score(before.size)) is not None:
        raise ValueError(too_few)
    lost = weighed * (before - after)
    lost[np.abs(before - after) <= 1e-9] = 0.0  # what files round off is no change
    lower, higher = int((lost > 0).sum()), int((lost < 0).sum())
    found = ratio_bounds(lost, weighed, float(weighed.max()), alpha, seed)
    low, high, method = found.low, found.high, found.method
    if lower + higher < FEWEST_CHANGED:
        low, high, method = -_stringer(-lost, weighed, alpha), _stringer(lost, weighed, alpha), "Stringer bound"
    verdict = None
    if bound is not None:
        verdict = Verdict.PASS if high < bound else Verdict.FAIL if low > bound else Verdict.INCONCLUSIVE
    dense_score, score = (float(np.average(scores, weights=weighed)) for scores in (before, after))
    detectable = found.detectable(alpha)
    reason = (
        f"{name} drop {points(found.value)} [{points(low)}, {points(high)}] points"
        + (f", bound {points(bound)}" if bound is not None else "")
        + f"; {points(dense_score)} to {points(score)} over {before.size} examples, {lower} lower, {higher} higher"
        + f"; detectable {points(detectable)}"
    )
    return ScoreJudgement(
        found.value, low, high, bound, verdict, reason, before.size, lower, higher, dense_score, score, detectable,
        method, 1 - 2 * alpha,
    )  # fmt: skip


def score_interval(scores: ArrayLike, *, weights: ArrayLike | None = None, alpha: float = 0.05) -> tuple[float, float]:
    """1 - alpha interval of the mean of scores in [0, 1], alpha/2 a side, by the bounds of `score_drop` from 1.

    ValueError as there.
    """
    wanted = np.ones(np.asarray(scores, dtype=float).shape)
    judged = score_drop(wanted, scores, None, weights=weights, alpha=alpha / 2)
    return max(0.0, 1 - judged.high), min(1.0, 1 - judged.low)


def resolves_score(examples: int) -> str | None:
    """None if so many examples can carry a verdict on scores, else why not, in one line.

    ValueError on a negative number.
    """
    if examples < 0:
        raise ValueError(f"examples must not be negative, got {examples}")
    if examples >= FEWEST_SCORED:
        return None
    return f"{examples} examples cannot carry a verdict on scores: needs {FEWEST_SCORED}"


def _stringer(lost: NDArray[np.float64], weights: NDArray[np.float64], alpha: float) -> float:
    """The 1 - alpha upper bound of the mean of max(lost, 0) over that of the weights, no loss above its weight."""
    n = lost.size
    shares = np.sort(lost[lost > 0])[::-1] / weights.max()
    rates = special.betaincinv(np.arange(len(shares) + 1) + 1.0, n - np.arange(len(shares) + 1), 1 - alpha)
    return min(1.0, float(rates[0] + np.diff(rates) @ shares) * float(weights.max() / weights.mean()))


def _scores(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = finite_list(f"{name} scores", values)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} scores must lie between 0 and 1")
    return array
