"""Timings of many runs under ugly noise, and where the sequential speed test decides in each.

Simulations use fixed seeds and vectorised crossings, which `test_the_class_decides_as_the_vectorised_rule` ties to
the class itself.
"""

import math

import numpy as np
from scipy import stats

from benchmarks.verdicts import log_e_value
from benchmarks.verdicts.speed import BLOCKS

RUNS, PAIRS, ALPHA = 4000, 200, 0.01
NEVER = 10**6


def log_e(wins, size):
    """ln E after each block: wins has the cumulated wins of runs (rows)."""
    n = np.arange(1, wins.shape[1] + 1)
    table = np.array([[log_e_value(min(k, m), m) for k in range(wins.shape[1] + 1)] for m in n])
    spread = np.full((wins.shape[0], wins.shape[1] * size), -np.inf)  # it speaks at the end of a block only
    spread[:, size - 1 :: size] = table[n - 1, wins]
    return spread


def fastest(side, size):
    whole = side.shape[1] // size
    return side[:, : whole * size].reshape(len(side), whole, size).min(axis=2)


def crossings(sides, target=1.0, tau=0.0, alpha=ALPHA, sizes=BLOCKS):
    """Index of the deciding pair for pass and for fail in each run (rows), NEVER where none."""
    guard = stats.norm.ppf(1 - ALPHA) * tau
    found = []
    for sign in (1, -1):
        evidence = []
        for size in sizes:
            r = np.log(fastest(sides[0], size) / fastest(sides[1], size))
            wins = (sign * (r - math.log(target)) > guard).cumsum(axis=1)
            evidence.append(log_e(wins, size)[:, : sides[0].shape[1]])
        width = max(e.shape[1] for e in evidence)
        evidence = [np.pad(e, ((0, 0), (0, width - e.shape[1])), constant_values=-np.inf) for e in evidence]
        crossed = np.logaddexp.reduce(evidence) - math.log(len(sizes)) >= -math.log(alpha)
        found.append(np.where(crossed.any(axis=1), crossed.argmax(axis=1), NEVER))
    return found


def slots(kind, rng, runs=RUNS, sd=0.08):
    """Log noise of 2 x PAIRS consecutive slots, shape (runs, pairs, 2)."""
    noise = sd * rng.standard_normal((runs, 2 * PAIRS))
    if kind == "drifting":  # AR(1), almost a random walk
        for t in range(1, 2 * PAIRS):
            noise[:, t] = 0.98 * noise[:, t - 1] + 0.2 * noise[:, t]
    if kind == "spikes":  # one slot in twenty takes up to ten times as long, in bursts
        burst = rng.random((runs, 2 * PAIRS)) < 0.05
        burst[:, 1:] |= burst[:, :-1] & (rng.random((runs, 2 * PAIRS - 1)) < 0.5)
        noise += burst * rng.uniform(0, math.log(10), burst.shape)
    if kind == "interrupted":  # neighbours and interrupts: never faster than alone
        noise = rng.exponential(1.5 * sd, noise.shape)
    if kind == "ramp":  # a machine that warms up: half as slow again by the end of every run
        noise += np.linspace(0, math.log(1.5), 2 * PAIRS)
    if kind == "step":  # a neighbour arrives in mid-run, whichever slot that is
        noise += (np.arange(2 * PAIRS) >= rng.integers(2 * PAIRS, size=(runs, 1))) * math.log(1.5)
    if kind == "first slot":  # whoever goes first takes 5 % longer
        noise[:, ::2] += 0.05
    return noise.reshape(runs, PAIRS, 2)


def sides(noise, rng, speedup=1.0, coin=True):
    """Seconds of the dense and of the compressed slots: compressed comes first where the coin says so, else always."""
    first = rng.random(noise.shape[:2]) < 0.5 if coin else np.ones(noise.shape[:2], dtype=bool)
    dense = np.where(first, noise[..., 1], noise[..., 0])
    compressed = np.where(first, noise[..., 0], noise[..., 1])
    return speedup * np.exp(dense), np.exp(compressed)
