"""Whole histories of runs by simulation, judged by `cut`, vectorised.

`test_the_function_judges_as_the_vectorised_rule` ties it to the function.
"""

import numpy as np
from scipy import stats

RUNS, ALPHA, TAU = 20_000, 0.01, 0.02  # at tau 2 % the limit and not the floor of 3 % decides


def noise(kind, rng, shape):
    """Deviations between runs in units of tau; `spiked`: one run in twenty is slowed by four more or so."""
    deviation = rng.standard_normal(shape)
    if kind == "spiked":
        deviation -= (rng.random(shape) < 0.05) * rng.exponential(4, shape)
    return deviation


def cut(history, new, tau=TAU, floor=0.0, prior=4):
    """Whether each of `new` (runs, several) is suspect against `history` (runs, K), and its p-value."""
    count = history.shape[1]
    freedom = count - 1 + prior
    variance = (prior * tau**2 + (count - 1) * history.var(axis=1, ddof=1)) / freedom
    scale = np.sqrt(variance * (1 + 1 / count))[:, None]
    drop = history.mean(axis=1)[:, None] - new
    return (drop > stats.t.isf(ALPHA, freedom) * scale) & (-np.expm1(-drop) > floor), stats.t.sf(drop / scale, freedom)
