"""Has a case become worse than its own history? Run against run, in fresh processes.

A case has one value y a run: ln speed-up, ln size ratio, accuracy drop. Three tests, none of which
gates alone: the new value against the last runs (`judge_change`), the same against one accepted value,
so that a slow creep cannot hide in a rolling window (`judge_against_anchor`), and what a suspect's reruns in
fresh processes say, one by one and together (`confirmed`). How small a slow-down they can see at all:
`detectable`. Where many cases are looked at, `control_false_discoveries`.
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
NEVER_NOISE = 2.0
"""A slow-down of so many times the machine's own deviation is not called noise, but in `alpha` of cases."""
DOUBTED = 2.0
"""What is worse by more than so many times the deviation of one run is looked at again, also within the limits."""
WORTH = {1: 1.0, 2: 2.0, 3: 2.23}
"""How many runs the median of so many is worth: with three its variance is 0.449 of one's, where normal. The median,
since one wild rerun must not speak for the others."""
POWER = 0.9
"""How surely a slow-down that counts as detectable is seen."""


class Change(StrEnum):
    UNCHANGED = "unchanged"
    DOUBTFUL = "doubtful"
    SUSPECT = "suspect"
    IMPROVED = "improved"
    TOO_SHORT = "too short"


class Recurrence(StrEnum):
    REGRESSION = "regression"
    NOISE = "noise"
    UNCHANGED = "unchanged"
    UNCONFIRMED = "unconfirmed"
    INCONCLUSIVE = "inconclusive"


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
    worsening: float | None = None  # in the unit of y, larger is worse
    error: float | None = None  # its standard error where nothing changed
    freedom: int | None = None  # the degrees of freedom that this error has

    def at_most(self, alpha: float) -> float:
        """The largest worsening that this is compatible with, one-sided at `alpha`, in the unit of y."""
        assert self.worsening is not None and self.error is not None and self.freedom is not None
        return self.worsening + float(stats.t.isf(alpha, self.freedom)) * self.error


@dataclass(frozen=True)
class Confirmation:
    """What became of what was suspect or doubtful once it was run again."""

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
    of: float = 1,
) -> ChangeJudgement:
    """The new value against the last 20 of its history: unchanged, doubtful, suspect, improved, or too short.

    With K values of mean m and sample deviation s_h, s^2 = (4 tau^2 + (K-1) s_h^2) / (K+3): the
    machine's own deviation `tau` counts as four more runs, so that five that happen to agree do not
    pass for calm. Suspect if y is worse than m by more than t(1-alpha, K+3) s sqrt(1 + 1/K), the
    prediction limit of one new normal value (Hahn & Meeker 1991), and the change is above `floor`;
    improved is the mirror image. Doubtful if it is not suspect, and worse than m by more than 2 s and the floor: the
    limits of a short history are so wide that they would call half of the speed unchanged.
    p = P(T(K+3) >= worsening / (s sqrt(1 + 1/K))). tau None, where the machine's deviation is not known, leaves s = s_h
    with K-1 degrees of freedom.

    of: how many fresh runs `new` is worth, see `WORTH`; the square root is then that of 1/of + 1/K.
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
    scale = math.sqrt(variance * (1 / of + 1 / count))
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
    of: float = 1,
    accepted: int = 1,
) -> ChangeJudgement:
    """The new value against one accepted value, whose standard error is `anchor_deviation`.

    As `judge_change`, with scale sqrt(tau^2 / of + anchor_deviation^2), `of` being how many fresh runs `new` is
    worth, and K + 3 degrees of freedom, K = `accepted` being how many runs the anchor is the mean of: its deviation
    is then s / sqrt(K). For a single run it is tau, which makes this the formula of `judge_change` with K = 1.
    The window's own spread is left out on purpose: a creep widens it and so hides in it.
    Never too short. ValueError as for `judge_change`, and on a negative anchor deviation.
    """
    _check(tau, floor, alpha, new)
    if not math.isfinite(anchor) or not 0 <= anchor_deviation < math.inf:
        raise ValueError(f"an anchor needs a finite value and deviation, got {anchor} and {anchor_deviation}")
    against = "against the accepted value" if accepted == 1 else f"against the mean of {accepted} accepted runs"
    return _judge(new - anchor, math.hypot(tau / math.sqrt(of), anchor_deviation), PRIOR + accepted - 1, floor,
                  higher_is_better, logarithmic, alpha, accepted, tau, against)  # fmt: skip


def shrunken(values: Sequence[float], tau: float) -> float:
    """The deviation of one run, of which `values` are some: s of `judge_change`."""
    count = len(values)
    spread = float(np.var(values, ddof=1)) if count > 1 else 0.0
    return math.sqrt((PRIOR * tau**2 + (count - 1) * spread) / (count - 1 + PRIOR))


def detectable(judged: ChangeJudgement, floor: float = 0.03, alpha: float = 0.01) -> float | None:
    """The smallest worsening of a logarithm, as a fraction of what was (0.1: 10 % slower), that one run shows to be
    suspect with a probability of 90 %; None where the history is too short to say."""
    if judged.error is None or judged.freedom is None:
        return None
    reach = float(stats.t.isf(alpha, judged.freedom) + stats.t.isf(1 - POWER, judged.freedom)) * judged.error
    return max(floor, -math.expm1(-reach))


def runs_to_detect(change: float, deviation: float, alpha: float = 0.01) -> int | None:
    """How many accepted runs make a worsening of the fraction `change` detectable, where one run deviates by
    `deviation`; None where the most that count do not."""
    for count in range(1, LONGEST + 1):
        cut = float(stats.t.isf(alpha, count + PRIOR - 1) + stats.t.isf(1 - POWER, count + PRIOR - 1))
        if cut * deviation * math.sqrt(1 + 1 / count) <= -math.log1p(-change):
            return count
    return None


def confirmed(
    first: ChangeJudgement,
    reruns: Sequence[ChangeJudgement],
    together: Sequence[ChangeJudgement] = (),
    tau: float = 0.0,
    *,
    floor: float = 0.03,
    alpha: float = 0.01,
) -> Confirmation:
    """What became of what was suspect or doubtful: all that its reruns say, one by one and together.

    Each rerun is judged by the same call as the first: same history (without the first), tau, floor and
    alpha. together: their median, judged so too, with `of` what that is worth; one opinion for each thing that it
    was compared with. It is

    - a regression if at least two of at most three fresh processes are suspect too. That their median is, is not
      enough: of runs that share a noise that lasts it is no better than one of them, and with noise of five minutes it
      would confirm 55 % of false suspects, where two of three confirm 22 %;
    - noise if by one opinion, and against none, the median rules out, at `alpha`, a worsening of twice the machine's
      own deviation or of the floor, whichever is more: "not slower" is said only where something speaks for it, which
      one accepted run alone never does;
    - unchanged if it was only doubtful, two of at most three fresh processes are neither suspect nor doubtful, and
      their median is not suspect;
    - inconclusive if three reruns decide nothing, and unconfirmed while there are fewer.

    The first counts for nothing but having been looked at again: it was chosen for being extreme, which is also what
    keeps false alarms below `alpha` whatever comes after. Reruns share the history of the first, so they agree more
    often than chance: a history that by luck lies too high makes all of them suspect; the rates are in
    docs/statistics.md. Afterwards the reruns may join the history if it was noise, the first only with them.
    ValueError where the first is neither suspect nor doubtful, on more than three reruns, or one that was too short.
    """
    if first.outcome not in (Change.SUSPECT, Change.DOUBTFUL):
        raise ValueError(f"only what is suspect or doubtful is confirmed, got {first.outcome}")
    if len(reruns) > MOST_RERUNS:
        raise ValueError(f"at most {MOST_RERUNS} reruns, got {len(reruns)}: with more, noise recurs sooner or later")
    if any(rerun.change is None for rerun in reruns):
        raise ValueError("a rerun had too short a history: judge it against that of the first")
    recurred = sum(rerun.outcome is Change.SUSPECT for rerun in reruns)
    plain = sum(rerun.outcome not in (Change.SUSPECT, Change.DOUBTFUL) for rerun in reruns)
    change = float(np.median([rerun.change for rerun in reruns])) if reruns else None
    counted = f"suspect in {recurred} of {len(reruns)} fresh processes"
    shown = "" if change is None else f", {100 * change:+.3g} % in their median"
    limit, slower = max(NEVER_NOISE * tau, floor), any(one.outcome is Change.SUSPECT for one in together)
    several = len(reruns) >= (MOST_RERUNS if recurred else RECURRENCES)
    if recurred >= RECURRENCES:
        outcome, reason = Recurrence.REGRESSION, f"regression: {counted}"
    elif several and together and not slower and (most := min(one.at_most(alpha) for one in together)) < limit:
        seen = f"at most {100 * -math.expm1(-max(0.0, most)):.3g} % slower"
        outcome, reason = Recurrence.NOISE, f"noise: {counted}, {seen} by all of them together"
    elif first.outcome is Change.DOUBTFUL and plain >= RECURRENCES and not slower:
        outcome, reason = Recurrence.UNCHANGED, f"unchanged: {counted}{shown}, as runs differ here"
    elif len(reruns) < MOST_RERUNS:
        outcome, reason = Recurrence.UNCONFIRMED, f"unconfirmed: {counted}, run it again"
    else:
        outcome, reason = Recurrence.INCONCLUSIVE, f"inconclusive: {counted}{shown}: neither slower nor not slower"
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
    elif worsening > DOUBTED * deviation and abs(change) > floor:
        outcome = Change.DOUBTFUL
    p_value = float(stats.t.sf(score, freedom))
    unit = "%" if logarithmic else "points"
    reason = (
        f"{outcome}: {100 * change:+.3g} {unit} {against}, "
        f"limits [{100 * low:+.3g}, {100 * high:+.3g}], floor {100 * floor:.3g} {unit}, p {p_value:.2g}"
    )
    return ChangeJudgement(outcome, change, low, high, p_value, runs, deviation, reason, worsening, scale, freedom)


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
