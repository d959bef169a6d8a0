"""Did the machine change rather than the code? The dense model's own absolute time against its history."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.verdicts.judgement import check_fraction, finite_list
from benchmarks.verdicts.regression import LONGEST, SHORTEST

# What the median absolute deviation of n normal values is divided by on average (Croux & Rousseeuw 1992).
CORRECTION = {5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
EFFICIENCY = 0.45  # of it in degrees of freedom: the rate of alarms then stays below alpha from 5 to 20 runs


@dataclass(frozen=True)
class EnvironmentJudgement:
    """The dense model's seconds against the median of its history, as a ratio (1.2 is 20 % slower)."""

    changed: bool | None  # None where the history is too short to tell
    ratio: float | None
    low: float | None  # prediction limits of the ratio
    high: float | None
    runs: int
    reason: str


def environment_changed(
    history_dense_seconds: Sequence[float], new_dense_seconds: float, *, floor: float = 0.03, alpha: float = 0.01
) -> EnvironmentJudgement:
    """Whether the dense model's own time left its prediction limits, either way.

    On x = ln seconds of the last 20 runs: limits median +- t(1 - alpha/2, nu) s sqrt(1 + pi/(2K)), s the
    median absolute deviation times 1.4826 and its small-sample factor (Croux & Rousseeuw 1992), nu =
    0.45 (K-1) since it is less efficient than the sample deviation (set by simulation). Up to two wild runs in five
    move neither. A change below `floor` is none: it explains no regression that would be reported.
    Assumes that most runs are independent and near normal in log. Seconds in any unit, all the same.
    Too short (changed None) with fewer than five runs. ValueError on seconds that are not positive and
    finite, alpha outside (0, 0.5), a negative or infinite floor.
    """
    check_fraction("alpha", alpha, 0.5)
    if not 0 <= floor < math.inf:
        raise ValueError(f"floor must be finite and at least 0, got {floor}")
    seconds = finite_list("dense seconds", [*history_dense_seconds, new_dense_seconds])
    if seconds.min() <= 0:
        raise ValueError(f"dense seconds must be positive, got {seconds.min()}")
    logs = np.log(seconds[:-1][-LONGEST:])
    count = logs.size
    if count < SHORTEST:
        reason = f"environment unknown: {count} runs of the dense model before this one, needs {SHORTEST}"
        return EnvironmentJudgement(None, None, None, None, count, reason)
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle))) * CORRECTION.get(count, count / (count - 0.8))
    quantile = float(stats.t.isf(alpha / 2, EFFICIENCY * (count - 1)))
    reach = quantile * spread * math.sqrt(1 + math.pi / (2 * count))
    shift = math.log(new_dense_seconds) - middle
    changed = abs(shift) > reach and abs(math.expm1(shift)) > floor
    ratio, low, high = math.exp(shift), math.exp(-reach), math.exp(reach)
    reason = (
        f"environment {'changed' if changed else 'unchanged'}: dense took {new_dense_seconds:.4g} s, "
        f"{ratio:.4g} of the median of {count} runs, limits [{low:.4g}, {high:.4g}], floor {100 * floor:.3g} %"
    )
    return EnvironmentJudgement(changed, ratio, low, high, count, reason)
