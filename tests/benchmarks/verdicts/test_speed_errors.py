"""How often the sequential speed test errs, and how soon it decides, under ugly noise by simulation.

Each guard is also shown broken: the same check on the method it replaces (peeking, a fixed order,
no allowance for the machine) must see the fault.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from simulated_slots import ALPHA, NEVER, PAIRS, RUNS, crossings, log_e, sides, slots

from benchmarks.verdicts.speed import BLOCKS

CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 1 % + CHANCE is 1.5 %: 2 % is told apart


def rates(sides, **kwargs):
    passed, failed = crossings(sides, **kwargs)
    return np.mean(passed < failed), np.mean(failed < passed)


@pytest.mark.parametrize("kind", ["independent", "drifting", "spikes", "ramp", "step", "first slot"])
@pytest.mark.parametrize("speedup", [1.0, 1.7])
def test_false_verdicts_stay_below_alpha_under_ugly_noise(kind, speedup):
    rng = np.random.default_rng(11)
    false_pass, false_fail = rates(sides(slots(kind, rng), rng, speedup), target=speedup)
    assert false_pass <= ALPHA + CHANCE
    assert false_fail <= ALPHA + CHANCE


def test_the_check_above_would_see_blocks_that_speak_before_they_are_whole():
    """Stopping is then after the pair that suits: of each block the best moment counts, not its end."""
    rng = np.random.default_rng(11)
    dense, compressed = sides(slots("independent", rng), rng)
    running = [np.minimum.accumulate(side.reshape(RUNS, -1, 4), axis=2) for side in (dense, compressed)]
    best = np.log(running[0] / running[1]).max(axis=2)
    assert np.mean((log_e((best > 0).cumsum(axis=1), 1) >= -math.log(ALPHA)).any(axis=1)) > 0.5


def test_the_check_above_would_see_a_test_that_peeks():
    rng = np.random.default_rng(11)
    dense, compressed = sides(slots("independent", rng), rng)
    fixed_n = np.array([stats.binom.isf(ALPHA, n, 0.5) + 1 for n in range(1, PAIRS + 1)])
    assert np.mean(((dense > compressed).cumsum(axis=1) >= fixed_n).any(axis=1)) > 0.05


@pytest.mark.parametrize(
    ("kind", "gap", "low", "high", "median"),
    [
        ("independent", 0.02, 0.08, 0.15, None),
        ("independent", 0.05, 0.90, 0.95, 87),
        ("independent", 0.10, 0.999, 1.0, 26),
        ("interrupted", 0.05, 0.97, 1.0, 60),
        ("interrupted", 0.10, 0.999, 1.0, 32),
    ],
)
def test_power(kind, gap, low, high, median):
    rng = np.random.default_rng(3)
    dense, compressed = sides(slots(kind, rng), rng, 1.5 * (1 + gap))
    passed, failed = crossings((dense, compressed), target=1.5)
    assert low <= np.mean(passed < failed) <= high
    if median is not None:
        assert np.median(passed[passed < NEVER] + 1) == pytest.approx(median, abs=4)
    # and the mirror image fails as surely
    passed, failed = crossings((compressed, dense), target=1 / 1.5)
    assert low <= np.mean(failed < passed) <= high


def test_blocks_find_what_single_pairs_do_not_where_noise_only_slows_down():
    rng = np.random.default_rng(3)
    interrupted = sides(slots("interrupted", rng), rng, 1.05)
    pairs = [np.median(crossings(interrupted, sizes=sizes)[0]) for sizes in (BLOCKS, (1,))]
    assert pairs[0] < 0.8 * pairs[1]
    rng = np.random.default_rng(3)
    even = sides(slots("independent", rng), rng, 1.05)
    pairs = [np.median(crossings(even, sizes=sizes)[0]) for sizes in (BLOCKS, (1,))]
    assert pairs[0] < 1.15 * pairs[1], "and cost little where it is even"


@pytest.mark.parametrize(("sd", "least"), [(0.03, 0.25), (0.01, 0.99)])
def test_a_fixed_order_gives_false_fails_that_the_coin_removes(sd, least):
    rng = np.random.default_rng(5)
    noise = slots("independent", rng, sd=sd)
    noise[..., 0] += 0.01  # whoever goes first takes 1 % longer
    assert rates(sides(noise, rng, coin=False))[1] > least
    assert max(rates(sides(noise, rng))) <= ALPHA + CHANCE


@pytest.mark.parametrize("tau", [0.01, 0.03, 0.10])
def test_the_guard_pays_for_a_machine_that_shifts_whole_runs(tau):
    rng = np.random.default_rng(7)
    dense, compressed = sides(slots("independent", rng), rng)
    dense = dense * np.exp(tau * rng.standard_normal((RUNS, 1)))
    assert sum(rates((dense, compressed))) > 0.03  # ignored, the shift alone breaks the promise
    assert max(rates((dense, compressed), tau=tau)) <= ALPHA + CHANCE
    wide_gap = math.exp(3 * stats.norm.ppf(1 - ALPHA) * tau + 0.1)
    assert rates((dense * wide_gap, compressed), tau=tau)[0] > 0.99  # a clear claim is still decided
