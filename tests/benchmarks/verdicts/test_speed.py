"""The sequential speed test against independent truth, by simulation.

Each guard is also shown broken: the same check on the method it replaces (peeking, a fixed order,
no allowance for the machine) must see the fault. Simulations use fixed seeds and vectorised
crossings, which `test_the_class_decides_as_the_vectorised_rule` ties to the class itself.
"""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts import (
    FEWEST,
    SpeedTest,
    Verdict,
    anytime_interval,
    log_e_value,
    log_speedup,
    pairs_to_decide,
)
from benchmarks.verdicts.speed import BLOCKS

RUNS, PAIRS, ALPHA = 4000, 200, 0.01
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 1 % + CHANCE is 1.5 %: 2 % is told apart
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


def rates(sides, **kwargs):
    passed, failed = crossings(sides, **kwargs)
    return np.mean(passed < failed), np.mean(failed < passed)


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


def run(ratios, target=1.0, **kwargs):
    """Pairs of these log ratios, of which the faster side takes a second: their noise is on the slower."""
    return run_pairs([(math.exp(max(r, 0)), math.exp(max(-r, 0))) for r in ratios], target, **kwargs)


def run_pairs(pairs, target=1.0, **kwargs):
    test = SpeedTest(target, **kwargs)
    for dense, compressed in pairs:
        test.add(dense, compressed)
    return test


def one_run(kind, rng, speedup=1.0):
    dense, compressed = sides(slots(kind, rng, runs=1), rng, speedup)
    return list(zip(dense[0], compressed[0], strict=True))


@pytest.mark.parametrize("tau", [0.0, 0.02])
def test_the_class_decides_as_the_vectorised_rule(tau):
    rng = np.random.default_rng(13)
    dense, compressed = sides(slots("spikes", rng, runs=150), rng)
    dense = dense * np.exp(rng.uniform(-0.15, 0.15, (150, 1)))
    seen = set()
    for row, passed, failed in zip(
        zip(dense, compressed, strict=True), *crossings((dense, compressed), tau=tau), strict=True
    ):
        test = run_pairs(zip(*row, strict=True), tau=tau)
        seen.add(test.verdict)
        if min(passed, failed) == NEVER:
            assert (test.verdict, test.decided_at) == (Verdict.INCONCLUSIVE, None)
        else:
            expected = Verdict.PASS if passed < failed else Verdict.FAIL
            assert (test.verdict, test.decided_at) == (expected, min(passed, failed) + 1)
    assert seen == {Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("tau", [0.0, 0.02])
def test_interval_and_verdict_agree_at_the_deciding_pair(tau):
    rng = np.random.default_rng(17)
    guard = math.exp(stats.norm.ppf(1 - ALPHA) * tau)
    for speedup in np.exp(rng.uniform(-0.2, 0.2, 60)):
        test = SpeedTest(1.2, tau=tau)
        for pair in one_run("independent", rng, 1.2 * speedup):
            before = test.judgement() if test.pairs else None
            assert before is None or before.low <= 1.2 * guard * (1 + 1e-12)
            assert before is None or before.high >= 1.2 / guard * (1 - 1e-12)
            test.add(*pair)
            if test.done:
                break
        judged = test.judgement()
        assert (judged.low > 1.2 * guard) == (judged.verdict is Verdict.PASS)
        assert (judged.high < 1.2 / guard) == (judged.verdict is Verdict.FAIL)
        assert judged.low <= judged.value <= judged.high


def test_the_first_crossing_is_latched_and_later_pairs_only_refine():
    test = run([0.5] * 11)
    assert (test.verdict, test.decided_at, test.done) == (Verdict.PASS, 11, True)
    for _ in range(60):
        test.add(1.0, math.exp(0.5))
    assert (test.verdict, test.decided_at, test.pairs) == (Verdict.PASS, 11, 71)
    assert test.judgement().value == pytest.approx(math.exp(-0.5))
    late = run([0.1, -0.1] * 5, budget=10)
    for _ in range(100):
        late.add(math.exp(0.5), 1.0)
    assert late.verdict is Verdict.INCONCLUSIVE  # the budget decides too


def test_ratios_on_the_cut_count_for_neither_side():
    test = run_pairs([(1.5, 1.0)] * 200, target=1.5)
    assert test.verdict is Verdict.INCONCLUSIVE


def test_the_fewest_pairs_allow_a_verdict_and_an_interval():
    assert run([0.5] * FEWEST).verdict is Verdict.PASS
    assert math.isfinite(run([0.5] * FEWEST, target=None).judgement().high)


def test_a_reason_says_what_happened_in_one_line():
    passed = run([math.log(1.3)] * 12, target=1.2).judgement()
    assert passed.reason == "speed-up 1.3x [1.3, 1.3], target 1.2x, 12 pairs, decided at 11"
    noise = run([math.log(1.3)] * 20, target=1.25, tau=0.05, budget=20).judgement()
    assert "widened to 1.113 to 1.404x by machine noise of 5.00%" in noise.reason
    assert "clears the target but not the machine's noise" in noise.reason
    assert "more pairs will not help" in noise.reason
    short = run([0.1, 0.1, 0.1, -0.1, -0.1] * 8).judgement()
    assert short.verdict is Verdict.INCONCLUSIVE
    assert "stopped short of 200" in short.reason and "more pairs would decide" in short.reason
    even = run([0.1, -0.1, -0.1, 0.1] * 50).judgement()
    assert "budget ended; too close to the bound" in even.reason
    for judged in (passed, noise, short, even):
        assert "\n" not in judged.reason


def test_on_a_noisy_machine_a_wide_claim_passes_and_a_narrow_one_says_why_not():
    pairs = one_run("spikes", np.random.default_rng(37), 1.5)
    wide, narrow = (run_pairs(pairs, target=t, tau=0.08).judgement() for t in (1.1, 1.4))
    assert wide.verdict is Verdict.PASS and "by machine noise of 8.00%" in wide.reason
    assert narrow.verdict is Verdict.INCONCLUSIVE
    assert "the machine's noise covers the gap, so more pairs will not help" in narrow.reason
    assert run_pairs(pairs, target=1.4).verdict is Verdict.PASS  # nothing but the noise is in its way


def test_without_a_target_there_is_an_estimate_and_no_verdict():
    test = run([0.1] * 200, target=None)
    judged = test.judgement()
    assert (judged.verdict, judged.bound, test.done) == (None, None, True)
    assert judged.value == pytest.approx(math.exp(0.1))


# --- estimate and interval -------------------------------------------------------------------


def test_of_fewer_pairs_than_a_block_the_estimate_is_their_median():
    assert log_speedup([1.0, 4.0, 2.0], [1.0] * 3) == pytest.approx(math.log(2))
    assert log_speedup([1.0, 4.0], [1.0, 1.0]) == pytest.approx(math.log(2))


@pytest.mark.parametrize(("kind", "gain"), [("interrupted", 1.3), ("independent", 0.95)])
def test_the_estimate_is_unbiased_and_beats_the_median_where_noise_only_slows_down(kind, gain):
    rng = np.random.default_rng(29)
    found = []
    for _ in range(300):
        dense, compressed = (side[0, :40] for side in sides(slots(kind, rng, runs=1), rng, 2.0))
        found.append((log_speedup(dense, compressed), np.median(np.log(dense / compressed))))
    ours, median = np.array(found).T - math.log(2)
    assert abs(ours.mean()) < 3 * ours.std() / math.sqrt(300)
    assert median.std() / ours.std() > gain


def test_the_interval_covers_at_the_moment_a_hostile_rule_stops():
    """Stops each run as soon as the truth lies outside the interval, if ever."""
    alpha = 0.05
    rng = np.random.default_rng(19)
    dense, compressed = sides(slots("independent", rng), rng)
    stop = np.minimum(*crossings((dense, compressed), alpha=alpha / 2))
    missed = 0
    for d, c, at in zip(dense, compressed, stop, strict=True):
        end = min(at, PAIRS - 1) + 1
        low, high = anytime_interval(d[:end], c[:end], alpha)
        assert (low > 0 or high < 0) == (at < NEVER)
        missed += low > 0 or high < 0
    assert 0.015 < missed / RUNS <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / RUNS)


def test_the_interval_shrinks_to_the_truth_and_is_infinite_before_it_can_know():
    rng = np.random.default_rng(23)
    dense, compressed = sides(slots("independent", rng, runs=20), rng, 3.0)
    found = [anytime_interval(d, c, 0.02) for d, c in zip(dense, compressed, strict=True)]
    assert all(low < math.log(3) < high for low, high in found)
    assert max(high - low for low, high in found) < 0.12
    assert anytime_interval(dense[0][:5], compressed[0][:5], 0.05) == (-math.inf, math.inf)
    judged = run([0.1] * 3).judgement()
    assert (judged.low, judged.high) == (0.0, math.inf)


# --- how many more pairs ---------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [[1, 1, -1], [1, 1, 1, -1, -1], [-1, -1, 1]])
def test_the_hint_comes_true_when_the_wins_keep_their_share(pattern):
    seen = run([0.1 * s for s in pattern] * 8)
    more = pairs_to_decide(seen.dense, seen.compressed, 1.0, 0.0, ALPHA)
    test = run([0.1 * s for s in pattern] * 200, budget=1000)
    assert seen.pairs + more == pytest.approx(test.decided_at, rel=0.15)


def test_no_hint_without_hope():
    def hint(ratios, tau=0.0):
        seen = run(ratios)
        return pairs_to_decide(seen.dense, seen.compressed, 1.0, tau, ALPHA)

    assert hint([0.1, -0.1, -0.1, 0.1] * 25) is None
    assert hint([0.05] * 100, tau=0.05) is None  # inside the machine's noise
    assert hint([0.05] * 100) == 0


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_e_value(5, 4), "wins must lie"),
        (lambda: log_e_value(-1, 4), "wins must lie"),
        (lambda: anytime_interval([], [], 0.05), "at least one pair"),
        (lambda: anytime_interval([0.1, math.nan], [1, 1], 0.05), "positive and finite"),
        (lambda: anytime_interval([0.1], [1], 1.5), "alpha must be"),
        (lambda: anytime_interval([0.1], [1, 2], 0.05), "come in pairs"),
        (lambda: log_speedup([], []), "at least one pair"),
        (lambda: SpeedTest(0.0), "target must be"),
        (lambda: SpeedTest(math.nan), "target must be"),
        (lambda: SpeedTest(1.0, alpha=0.5), "alpha must be"),
        (lambda: SpeedTest(1.0, tau=-0.1), "tau must be"),
        (lambda: SpeedTest(1.0, tau=math.nan), "tau must be"),
        (lambda: SpeedTest(1.0, budget=0), "budget must be"),
        (lambda: SpeedTest(1.0).add(math.inf, 1.0), "positive and finite"),
        (lambda: SpeedTest(1.0).add(1.0, 0.0), "positive and finite"),
        (lambda: SpeedTest(1.0).judgement(), "at least one pair"),
        (lambda: pairs_to_decide([], [], 1.0, 0.0, 0.01), "at least one pair"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_the_machines_noise_covers_is_not_measured_on_in_vain():
    ratios = 2.0 * np.exp(np.random.default_rng(0).normal(0, 0.02, 200))
    noisy, quiet = SpeedTest(1.9, tau=0.08), SpeedTest(1.9, tau=0.0)
    for test in (noisy, quiet):
        for ratio in ratios:
            if test.done:
                break
            test.add(ratio, 1.0)
    assert (noisy.verdict, noisy.pairs < 20) == (None, True)
    assert noisy.judgement().verdict is Verdict.INCONCLUSIVE
    assert "the machine's noise covers the gap, so more pairs will not help" in noisy.judgement().reason
    assert quiet.verdict is Verdict.PASS
    clear = SpeedTest(1.5, tau=0.08)
    for ratio in ratios[:20]:
        assert clear.verdict is not None or not clear.futile
        clear.add(ratio, 1.0)
    assert clear.verdict is Verdict.PASS
