"""Bounds of a ratio of sums, its examples resampled whole: tokens of a document or words of a sentence are not
independent, and resampled one by one they promise intervals several times too narrow."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

RESAMPLES = 10_000  # the 5 % tail is then met to 0.2 %
BATCH = 2**21  # resampled examples held at once: about 50 MB


@dataclass(frozen=True)
class Bounded:
    """sum(amounts) / sum(weights) with one-sided 1 - alpha bounds. error: its standard error; method: "BCa bootstrap"
    or "constant", where every example has the same ratio."""

    value: float
    low: float
    high: float
    error: float
    method: str

    def detectable(self, alpha: float, power: float = 0.8) -> float:
        """What is told from nothing with probability `power`, in the unit of the ratio (normal approximation)."""
        return float(special.ndtri(1 - alpha) + special.ndtri(power)) * self.error


def ratio_bounds(
    amounts: NDArray[np.float64], weights: NDArray[np.float64], rounding: float, alpha: float, seed: int
) -> Bounded:
    """amounts, weights: (examples,), at least two; rounding: the largest number that amounts were differences of.

    BCa bootstrap (Efron 1987) over whole examples, by scipy.stats.bootstrap, at levels expanded from z to
    sqrt(n/(n-1)) t(n-1) (Hesterberg 2015), since resampled spreads are too small by that. Where the ratio is the
    same in every example BCa is undefined and nothing is uncertain: both bounds are the value.
    """
    n, total = amounts.size, weights.sum()
    value = float(amounts.sum() / total)
    residual = amounts - value * weights
    error = math.sqrt(n / (n - 1) * float(residual @ residual)) / float(total)
    # No more than what rounding leaves of sums this large: resampling it would only measure the rounding.
    if np.abs(residual).max() <= 1e-12 * rounding:
        return Bounded(value, value, value, error, "constant")
    interval = stats.bootstrap(
        (amounts, weights),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // n),
        confidence_level=1 - 2 * _expanded(alpha, n),
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Bounded(value, float(interval.low), float(interval.high), error, "BCa bootstrap")


def _ratio(amounts: NDArray[Any], weights: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    return np.asarray(amounts.sum(axis=axis) / weights.sum(axis=axis))


def _expanded(alpha: float, n: int) -> float:
    """The level at which a normal quantile is as wide as sqrt(n/(n-1)) t(1-alpha, n-1)."""
    return float(special.ndtr(-math.sqrt(n / (n - 1)) * stats.t.ppf(1 - alpha, n - 1)))
