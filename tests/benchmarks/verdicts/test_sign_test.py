"""The e-value of the sign test against independent truth: published values, exact sums, integrals."""

import math
from bisect import bisect_left

import numpy as np
import pytest
from scipy import integrate

from benchmarks.verdicts import log_e_value

PAIRS, ALPHA = 200, 0.01


def wins_needed(pairs):
    """The least wins among `pairs` with E >= 1/ALPHA; pairs + 1 where even all wins are too few."""
    return bisect_left(range(pairs + 1), -math.log(ALPHA), key=lambda wins: log_e_value(wins, pairs))


@pytest.mark.parametrize(("pairs", "wins"), [(8, 9), (9, 9), (10, 10), (20, 18), (50, 37), (100, 68), (200, 126)])
def test_wins_needed_matches_the_published_values(pairs, wins):
    assert wins_needed(pairs) == wins


@pytest.mark.parametrize(
    ("wins", "pairs"), [(0, 0), (0, 7), (7, 7), (3, 10), (18, 20), (30, 100), (126, 200), (600, 900)]
)
def test_e_value_is_the_integral_of_the_mixture(wins, pairs):
    def likelihood_ratio(p):
        return 2 * math.exp(pairs * math.log(2) + wins * math.log(p) + (pairs - wins) * math.log1p(-p))

    peak = min(max(wins / max(pairs, 1), 0.5), 1 - 1e-9)
    expected, _ = integrate.quad(likelihood_ratio, 0.5, 1 - 1e-15, points=[peak], epsabs=0, epsrel=1e-11, limit=500)
    assert math.exp(log_e_value(wins, pairs)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("pairs", [0, 1, 50, 1500])
def test_e_value_is_a_fair_bet_under_the_null(pairs):
    """E before a pair is the mean of E after a win and E after a loss, for every history."""
    for wins in range(pairs + 1):
        after = np.logaddexp(log_e_value(wins + 1, pairs + 1), log_e_value(wins, pairs + 1)) - math.log(2)
        assert log_e_value(wins, pairs) == pytest.approx(after, abs=1e-9)


def test_e_value_holds_at_a_hundred_thousand_pairs():
    n = 10**5
    assert log_e_value(0, n) == pytest.approx(-math.log(n + 1), abs=1e-9)
    assert log_e_value(n, n) == pytest.approx((n + 1) * math.log(2) - math.log(n + 1), rel=1e-12)
    term, total, k = 1, 1, 49_000  # integers: E = sum_{j<=k} C(n+1, j) / ((n-k+1) C(n+1, k))
    for j in range(k, k - 2500, -1):  # the terms below are smaller by more than 1e-20
        term = term * j / (n + 2 - j)
        total += term
    assert log_e_value(k, n) == pytest.approx(math.log(total) - math.log(n - k + 1), abs=1e-9)


def test_false_verdicts_stay_below_alpha_exactly():
    """Not simulated: the distribution of wins is followed pair by pair, crossing runs removed."""
    alive, crossed = np.array([1.0]), 0.0
    for n in range(1, 1001):
        alive = 0.5 * (np.append(alive, 0.0) + np.append(0.0, alive))
        crossed += alive[wins_needed(n) :].sum()
        alive[wins_needed(n) :] = 0.0
        if n == PAIRS:
            within_budget = crossed
    assert 0.005 < within_budget < crossed < ALPHA  # valid, and not by being far too strict
