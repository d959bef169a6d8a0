"""Is there anything to lose? A dense model that answers no better than one answer to everything has no quality that a
method could keep, and no verdict on one is about anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from benchmarks.verdicts.judgement import check_fraction, finite_list


def surely_better(model: ArrayLike, constant: ArrayLike, alpha: float = 0.05) -> bool:
    """Whether a model's scores are better than those of a constant answer to the same examples, by a sign test on the
    examples where they differ (Dixon & Mood 1946): wrong for at most `alpha` of models that are no better.

    Both: a score an example, higher is better, (examples,), in the same order. Assumes independent examples.
    ValueError on empty input, numbers that are not finite, lengths that differ, alpha outside (0, 0.5)."""
    check_fraction("alpha", alpha, 0.5)
    one, other = finite_list("model", model), finite_list("constant", constant)
    if one.size != other.size:
        raise ValueError(f"lengths differ: {one.size} scores of the model and {other.size} of the constant answer")
    better, worse = int((one > other).sum()), int((one < other).sum())
    if better <= worse:
        return False
    return bool(stats.binomtest(better, better + worse, 0.5, alternative="greater").pvalue <= alpha)


def above_chance(right: int, examples: int, chance: float, alpha: float = 0.05) -> bool:
    """Whether so many right answers are surely more than a share `chance` of them, by an exact binomial test."""
    check_fraction("alpha", alpha, 0.5)
    return bool(stats.binomtest(right, examples, min(1.0, chance), alternative="greater").pvalue <= alpha)


def one_answer(answers: ArrayLike) -> bool:
    """Whether all answers, (examples, …), are the same."""
    found = np.asarray(answers)
    return len(found) > 1 and bool((found == found[:1]).all())
