"""Has a case become worse than its own history? Run against run, in fresh processes.

A case has one value y a run: ln speed-up, ln size ratio, accuracy drop. Three tests, none of which
gates alone: the new value against the last runs (`judge_change`), the same against one accepted value,
so that a slow creep cannot hide in a rolling window (`judge_against_anchor`), and whether a suspect
recurs in fresh processes (`confirmed`). Where many cases are looked at, `control_false_discoveries`.
Not here: which runs belong to one history (same case, same fingerprint, since the last accepted
change), and change-points, which may annotate a chart and never gate. Nothing here notices runs that
are not independent: whoever reads the history owes that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from benchmarks.verdicts.judgement import check_fraction, finite_list

LONGEST = 20  # runs: older ones say little about today's drivers and load
SHORTEST = 5
PRIOR = 4  # runs that the machine's own deviation counts for; with it, five runs do not pass for calm
RECURRENCES = 2
MOST_RERUNS = 3  # a fixed end: noise that may try again for ever recurs


class Change(StrEnum):
    UNCHANGED = "unchanged"
    SUSPECT = "suspect"
    IMPROVED = "improved"
    TOO_SHORT = "too short"


class Recurrence(StrEnum):
    REGRESSION = "regression"
    NOISE = "noise"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True)
class ChangeJudgement:
    """A new value against what it was expected to be; all numbers None where the history is too short.

    change, low and high are fractions where y is a logarithm (-0.05 is 5 % lower), else in the unit of y.
    """

    outcome: Change
    change: float | None
    low: float | None  # limits within which the change of an unchanged case lies, alpha a side
    high: float | None
    p_value: float | None  # one-sided, towards worse; from the t distribution
    runs: int  # K
    deviation: float | None  # s, of one run, in the unit of y
    reason: str


@dataclass(frozen=True)
class Confirmation:
    """What became of a suspect once it was run again."""

    outcome: Recurrence
    change: float | None  # median of the reruns alone: the first was chosen for being extreme
    recurred: int
    reruns: int
    reason: str


def judge_change(
    history: Sequence[float],
    new: float,
    tau: float | None,
    *,
    floor: float = 0.03,
    higher_is_better: bool = True,
    logarithmic: bool = True,
    alpha: float = 0.01,
) -> ChangeJudgement:
    """The new value against the last 20 of its history: unchanged, suspect, improved, or too short.

    With K values of mean m and sample deviation s_h, s^2 = (4 tau^2 + (K-1) s_h^2) / (K+3): the
    machine's own deviation `tau` counts as four more runs, so that five that happen to agree do not
    pass for calm. Suspect if y is worse than m by more than t(1-alpha, K+3) s sqrt(1 + 1/K), the
    prediction limit of one new normal value (Hahn & Meeker 1991), and the change is above `floor`;
    improved is the mirror image. p = P(T(K+3) >= worsening / (s sqrt(1 + 1/K))). tau None, where the
    machine's deviation is not known, leaves s = s_h with K-1 degrees of freedom.

    floor: what counts at all; 0.03 for speed, 0.01 for size, 0.005 for accuracy. Where `logarithmic`,
    y is a natural logarithm and floor a fraction (0.03 is 3 %); else both are in the unit of y. tau is a
    deviation of y in either case, 0 for what is exact: any change above the floor is then suspect.
    Assumes that runs are independent and near normal between processes; p is wrong by as much as they
    are not, which `confirmed` is for. ValueError on values that are not finite, tau or floor that are
    negative or not finite, alpha outside (0, 0.5).
    """
    values = finite_list("history", history)[-LONGEST:] if len(history) else np.empty(0)
    _check(tau, floor, alpha, new)
    count = values.size
    if count < SHORTEST:
        reason = f"too short: {count} {_runs(count)} before this one, needs {SHORTEST}"
        return ChangeJudgement(Change.TOO_SHORT, None, None, None, None, count, None, reason)
    variance, freedom = float(np.var(values, ddof=1)), count - 1
    if tau is not None:
        variance = (PRIOR * tau**2 + (count - 1) * variance) / (count - 1 + PRIOR)
        freedom = count - 1 + PRIOR
    scale = math.sqrt(variance * (1 + 1 / count))
    against = f"against the mean of {count} runs"
    return _judge(new - float(values.mean()), scale, freedom, floor, higher_is_better, logarithmic, alpha,
                  count, math.sqrt(variance), against)  # fmt: skip


def judge_against_anchor(
    anchor: float,
    anchor_deviation: float,
    new: float,
    tau: float,
    *,
    floor: float = 0.03,
    higher_is_better: bool = True,
    logarithmic: bool = True,
    alpha: float = 0.01,
) -> ChangeJudgement:
    """The new value against one accepted value, whose standard error is `anchor_deviation`.

    As `judge_change`, with scale sqrt(tau^2 + anchor_deviation^2) and four degrees of freedom, which is
    what tau counts for there. For an anchor that is the mean of K accepted runs the deviation is
    s / sqrt(K); for a single run it is tau, which makes this the formula of `judge_change` with K = 1.
    The window's own spread is left out on purpose: a creep widens it and so hides in it.
    Never too short. ValueError as for `judge_change`, and on a negative anchor deviation.
    """
    _check(tau, floor, alpha, new)
    if not math.isfinite(anchor) or not 0 <= anchor_deviation < math.inf:
        raise ValueError(f"an anchor needs a finite value and deviation, got {anchor} and {anchor_deviation}")
    return _judge(new - anchor, math.hypot(tau, anchor_deviation), PRIOR, floor, higher_is_better, logarithmic,
                  alpha, 1, tau, "against the accepted value")  # fmt: skip


def confirmed(first: ChangeJudgement, reruns: Sequence[ChangeJudgement]) -> Confirmation:
    """Whether a suspect recurs: a regression if at least two of at most three fresh processes say so too.

    Each rerun is judged by the same call as the first: same history (without the first), tau, floor and
    alpha. They are not averaged before judging: what one process had in common with itself (placement,
    clocks) is what is being tested. Stop at two recurrences or at two misses; with fewer of either it is
    unconfirmed. Reruns share the history of the first, so they agree more often than chance: a history
    that by luck lies too high makes all of them suspect; the rates are in docs/statistics.md.
    Afterwards the reruns may join the history if it was noise, the first only with them.
    ValueError where the first is no suspect, on more than three reruns, or one that was too short.
    """
    if first.outcome is not Change.SUSPECT:
        raise ValueError(f"only a suspect is confirmed, got {first.outcome}")
    if len(reruns) > MOST_RERUNS:
        raise ValueError(f"at most {MOST_RERUNS} reruns, got {len(reruns)}: with more, noise recurs sooner or later")
    if any(rerun.change is None for rerun in reruns):
        raise ValueError("a rerun had too short a history: judge it against that of the first")
    recurred = sum(rerun.outcome is Change.SUSPECT for rerun in reruns)
    missed = len(reruns) - recurred
    counted = f"suspect in {recurred} of {len(reruns)} fresh processes"
    if recurred >= RECURRENCES:
        outcome, reason = Recurrence.REGRESSION, f"regression: {counted}"
    elif missed > MOST_RERUNS - RECURRENCES:
        outcome, reason = Recurrence.NOISE, f"noise: {counted}, needs {RECURRENCES}"
    else:
        outcome, reason = Recurrence.UNCONFIRMED, f"unconfirmed: {counted}, run it again"
    change = float(np.median([rerun.change for rerun in reruns])) if reruns else None
    return Confirmation(outcome, change, recurred, len(reruns), reason)


def _judge(
    shift: float, scale: float, freedom: int, floor: float, higher_is_better: bool, logarithmic: bool, alpha: float,
    runs: int, deviation: float, against: str,
) -> ChangeJudgement:  # fmt: skip
    worsening = -shift if higher_is_better else shift
    # An exact measure has no spread: the same value is no evidence, another one is all there could be.
    score = worsening / scale if scale else math.copysign(math.inf, worsening) if worsening else 0.0
    cut = float(stats.t.isf(alpha, freedom))
    reach = cut * scale
    change, low, high = (math.expm1(x) if logarithmic else x for x in (shift, -reach, reach))
    outcome = Change.UNCHANGED
    if abs(score) > cut and abs(change) > floor:
        outcome = Change.SUSPECT if score > 0 else Change.IMPROVED
    p_value = float(stats.t.sf(score, freedom))
    unit = "%" if logarithmic else "points"
    reason = (
        f"{outcome}: {100 * change:+.3g} {unit} {against}, "
        f"limits [{100 * low:+.3g}, {100 * high:+.3g}], floor {100 * floor:.3g} {unit}, p {p_value:.2g}"
    )
    return ChangeJudgement(outcome, change, low, high, p_value, runs, deviation, reason)


def _check(tau: float | None, floor: float, alpha: float, new: float) -> None:
    check_fraction("alpha", alpha, 0.5)
    if not math.isfinite(new):
        raise ValueError(f"the new value must be finite, got {new}")
    if not 0 <= floor < math.inf:
        raise ValueError(f"floor must be finite and at least 0, got {floor}")
    if tau is not None and not 0 <= tau < math.inf:
        raise ValueError(f"tau must be a finite deviation of at least 0, got {tau}")


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
