"""What an average hides: the class that lost most, how sure a model is of itself, and how often it still agrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.verdicts.accuracy import accuracy_drop
from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction, points

BINS = 15
"""Of equal width, as Guo et al. (2017) have it."""
RESAMPLES = 2000


@dataclass(frozen=True)
class ClassJudgement(Judgement):
    """The largest drop of accuracy within one class, as a fraction. worst: that class. drops: of each class that has
    examples, (its number, examples, drop)."""

    worst: int
    drops: tuple[tuple[int, int, float], ...]


def worst_class_drop(
    truth: ArrayLike, dense: ArrayLike, compressed: ArrayLike, bound: float | None, *, alpha: float = 0.05
) -> ClassJudgement:
    """Did any class lose more than `bound`? truth, dense, compressed: class indices, (examples,).

    The worst of many classes is also the unluckiest. So every class gets its own paired interval at alpha / classes a
    side (Bonferroni), which hold together; the largest drop then lies between the largest of the lower ends and the
    largest of the upper ends. Pass if that is below the bound, fail if it is above."""
    check_fraction("alpha", alpha, 0.5)
    labels, before, after = (np.asarray(values) for values in (truth, dense, compressed))
    present = [int(number) for number in np.unique(labels)]
    found = {
        number: accuracy_drop(
            before[labels == number] == number, after[labels == number] == number, None, alpha=alpha / len(present)
        )
        for number in present
    }
    worst = max(found, key=lambda number: found[number].value)
    low, high = (max(getattr(one, end) for one in found.values()) for end in ("low", "high"))
    verdict = None
    if bound is not None:
        verdict = Verdict.PASS if high < bound else Verdict.FAIL if low > bound else Verdict.INCONCLUSIVE
    value = found[worst].value
    limit = "" if bound is None else f", bound {points(bound)}"
    return ClassJudgement(
        value, low, high, bound, verdict,
        f"worst class: drop {points(value)} [{points(low)}, {points(high)}] points{limit}, "
        f"{int((labels == worst).sum())} examples",
        worst, tuple((n, int((labels == n).sum()), one.value) for n, one in found.items()),
    )  # fmt: skip


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error (Naeini 2015; Guo et al. 2017): the mean over bins of equal width of how far accuracy
    lies from confidence there, weighted by the examples. confidence: of the answer that was given, in [0, 1]; right: 0
    or 1; both (examples,)."""
    sure, correct = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    return float(_error(sure[None], correct[None], bins)[0])


def _error(sure: np.ndarray, correct: np.ndarray, bins: int) -> np.ndarray:
    """Of each row, (rows, examples)."""
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    found = np.zeros(len(sure))
    for number in range(bins):
        here = place == number
        found += np.abs((np.where(here, correct - sure, 0.0)).sum(axis=1))
    return found / sure.shape[1]


def calibration_rise(
    dense: tuple[ArrayLike, ArrayLike], compressed: tuple[ArrayLike, ArrayLike], bound: float | None,
    *, alpha: float = 0.05, seed: int = 0,
) -> Judgement:  # fmt: skip
    """By how much the expected calibration error rose, as a fraction. dense, compressed: (confidence, right) of the
    same examples. The interval is a paired bootstrap over examples, 1 - 2 alpha, about the estimate: the error of a
    sample is larger than the true one on both sides, and the difference of the two is what is resampled."""
    check_fraction("alpha", alpha, 0.5)
    pairs = [(np.asarray(sure, dtype=float), np.asarray(right, dtype=float)) for sure, right in (dense, compressed)]
    value = calibration_error(*pairs[1]) - calibration_error(*pairs[0])
    draw, count = np.random.default_rng(seed), len(pairs[0][0])
    chunks = []
    for _ in range(RESAMPLES // 200):  # by parts: ten thousand examples two thousand times are much memory
        rows = draw.integers(count, size=(200, count))
        before, after = (_error(sure[rows], right[rows], BINS) for sure, right in pairs)
        chunks.append(after - before)
    spread = np.concatenate(chunks)
    low, high = (2 * value - np.quantile(spread, q) for q in (1 - alpha, alpha))
    verdict = None
    if bound is not None:
        verdict = Verdict.PASS if high < bound else Verdict.FAIL if low > bound else Verdict.INCONCLUSIVE
    limit = "" if bound is None else f", bound {points(bound)}"
    reason = f"calibration error rose by {points(value)} [{points(low)}, {points(high)}] points{limit}"
    return Judgement(float(value), float(low), float(high), bound, verdict, reason)
