"""The sequential speed test against independent truth: published values, exact sums, integrals, simulation.

Each guard is also shown broken: the same check on the method it replaces (peeking, a fixed order,
no allowance for the machine) must see the fault. Simulations use fixed seeds and vectorised
crossings, which `test_the_class_decides_as_the_vectorised_rule` ties to the class itself.
"""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks.verdicts import SpeedTest, Verdict, anytime_interval, log_e_value, pairs_to_decide, wins_needed

RUNS, PAIRS, ALPHA = 4000, 200, 0.01
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 1 % + CHANCE is 1.5 %: 2 % is told apart
NEVER = 10**6


# --- the e-value -----------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "wins"), [(8, 9), (9, 9), (10, 10), (20, 18), (50, 37), (100, 68), (200, 126)])
def test_wins_needed_matches_the_published_values(pairs, wins):
    assert wins_needed(pairs, 0.01) == wins


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


# --- the sequential test ---------------------------------------------------------------------


def crossings(r, target=1.0, tau=0.0, needed=None):
    """Index of the deciding pair for pass and for fail in each run (rows), NEVER where none."""
    guard = stats.norm.ppf(1 - ALPHA) * tau
    if needed is None:
        needed = np.array([wins_needed(n, ALPHA) for n in range(1, r.shape[1] + 1)])
    crossed = [(side.cumsum(axis=1) >= needed) for side in (r > math.log(target) + guard, r < math.log(target) - guard)]
    return [np.where(c.any(axis=1), c.argmax(axis=1), NEVER) for c in crossed]


def rates(r, **kwargs):
    passed, failed = crossings(r, **kwargs)
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
    if kind == "ramp":  # a machine that warms up: half as slow again by the end of every run
        noise += np.linspace(0, math.log(1.5), 2 * PAIRS)
    if kind == "step":  # a neighbour arrives in mid-run, whichever slot that is
        noise += (np.arange(2 * PAIRS) >= rng.integers(2 * PAIRS, size=(runs, 1))) * math.log(1.5)
    if kind == "first slot":  # whoever goes first takes 5 % longer
        noise[:, ::2] += 0.05
    return noise.reshape(runs, PAIRS, 2)


def ratios(noise, rng, speedup=1.0, coin=True):
    """ln(dense / compressed): the compressed slot comes first where the coin says so, else always."""
    first = rng.random(noise.shape[:2]) < 0.5 if coin else np.ones(noise.shape[:2], dtype=bool)
    difference = noise[..., 1] - noise[..., 0]
    return math.log(speedup) + np.where(first, difference, -difference)


def test_false_verdicts_stay_below_alpha_exactly():
    """Not simulated: the distribution of wins is followed pair by pair, crossing runs removed."""
    alive, crossed = np.array([1.0]), 0.0
    for n in range(1, 1001):
        alive = 0.5 * (np.append(alive, 0.0) + np.append(0.0, alive))
        crossed += alive[wins_needed(n, ALPHA) :].sum()
        alive[wins_needed(n, ALPHA) :] = 0.0
        if n == PAIRS:
            within_budget = crossed
    assert 0.005 < within_budget < crossed < ALPHA  # valid, and not by being far too strict


@pytest.mark.parametrize("kind", ["independent", "drifting", "spikes", "ramp", "step", "first slot"])
@pytest.mark.parametrize("speedup", [1.0, 1.7])
def test_false_verdicts_stay_below_alpha_under_ugly_noise(kind, speedup):
    rng = np.random.default_rng(11)
    r = ratios(slots(kind, rng), rng, speedup)
    false_pass, false_fail = rates(r, target=speedup)
    assert false_pass <= ALPHA + CHANCE
    assert false_fail <= ALPHA + CHANCE


def test_the_check_above_would_see_a_test_that_peeks():
    fixed_n = np.array([stats.binom.isf(ALPHA, n, 0.5) + 1 for n in range(1, PAIRS + 1)])
    rng = np.random.default_rng(11)
    false_pass, _ = rates(ratios(slots("independent", rng), rng), needed=fixed_n)
    assert false_pass > 0.05


@pytest.mark.parametrize(
    ("gap", "low", "high", "median"),
    [(0.02, 0.11, 0.15, None), (0.05, 0.92, 0.95, 81), (0.10, 0.999, 1.0, 24)],
)
def test_power_at_eight_percent_noise(gap, low, high, median):
    rng = np.random.default_rng(3)
    r = ratios(slots("independent", rng), rng, 1.5 * (1 + gap))
    passed, failed = crossings(r, target=1.5)
    assert low <= np.mean(passed < failed) <= high
    if median is not None:
        assert np.median(passed[passed < NEVER] + 1) == pytest.approx(median, abs=3)
    # and the mirror image fails as surely
    passed, failed = crossings(-r, target=1 / 1.5)
    assert low <= np.mean(failed < passed) <= high


@pytest.mark.parametrize(("sd", "least"), [(0.03, 0.25), (0.01, 0.99)])
def test_a_fixed_order_gives_false_fails_that_the_coin_removes(sd, least):
    rng = np.random.default_rng(5)
    noise = slots("independent", rng, sd=sd)
    noise[..., 0] += 0.01  # whoever goes first takes 1 % longer
    assert rates(ratios(noise, rng, coin=False))[1] > least
    assert max(rates(ratios(noise, rng))) <= ALPHA + CHANCE


@pytest.mark.parametrize("tau", [0.01, 0.03, 0.10])
def test_the_guard_pays_for_a_machine_that_shifts_whole_runs(tau):
    rng = np.random.default_rng(7)
    r = ratios(slots("independent", rng), rng) + tau * rng.standard_normal((RUNS, 1))
    assert sum(rates(r)) > 0.03  # ignored, the shift alone breaks the promise
    assert max(rates(r, tau=tau)) <= ALPHA + CHANCE
    wide_gap = math.exp(3 * stats.norm.ppf(1 - ALPHA) * tau + 0.1)
    assert rates(r + math.log(wide_gap), tau=tau)[0] > 0.99  # a clear claim is still decided


def run(r, target=1.0, **kwargs):
    test = SpeedTest(target, **kwargs)
    for value in r:
        test.add(value)
    return test


@pytest.mark.parametrize("tau", [0.0, 0.02])
def test_the_class_decides_as_the_vectorised_rule(tau):
    rng = np.random.default_rng(13)
    speedups = np.exp(rng.uniform(-0.15, 0.15, (150, 1)))
    r = ratios(slots("spikes", rng, runs=150), rng) + np.log(speedups)
    seen = set()
    for row, passed, failed in zip(r, *crossings(r, tau=tau), strict=True):
        test = run(row, tau=tau)
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
        for value in ratios(slots("independent", rng, runs=1), rng, 1.2 * speedup)[0]:
            before = test.judgement() if test.pairs else None
            assert before is None or before.low <= 1.2 * guard * (1 + 1e-12)
            assert before is None or before.high >= 1.2 / guard * (1 - 1e-12)
            test.add(value)
            if test.done:
                break
        judged = test.judgement()
        assert (judged.low > 1.2 * guard) == (judged.verdict is Verdict.PASS)
        assert (judged.high < 1.2 / guard) == (judged.verdict is Verdict.FAIL)
        assert judged.low <= judged.value <= judged.high


def test_the_first_crossing_is_latched_and_later_pairs_only_refine():
    test = run([0.5] * 9)
    assert (test.verdict, test.decided_at, test.done) == (Verdict.PASS, 9, True)
    for _ in range(60):
        test.add(-0.5)
    assert (test.verdict, test.decided_at, test.pairs) == (Verdict.PASS, 9, 69)
    assert test.judgement().value == pytest.approx(math.exp(-0.5))
    late = run([0.1, -0.1] * 5, budget=10)
    for _ in range(100):
        late.add(0.5)
    assert late.verdict is Verdict.INCONCLUSIVE  # the budget decides too


def test_ratios_on_the_cut_count_for_neither_side():
    test = run([math.log(1.5)] * 200, target=1.5)
    assert test.verdict is Verdict.INCONCLUSIVE


def test_a_reason_says_what_happened_in_one_line():
    passed = run([math.log(1.3)] * 12, target=1.2).judgement()
    assert passed.reason == "speed-up 1.3x [1.3, 1.3], target 1.2x, 12 pairs, decided at 9"
    noise = run([math.log(1.3)] * 20, target=1.25, tau=0.05, budget=20).judgement()
    assert "widened to 1.113 to 1.404x by machine noise of 5.00%" in noise.reason
    assert "clears the target but not the machine's noise" in noise.reason
    assert "more pairs will not help" in noise.reason
    short = run([0.1, 0.1, 0.1, -0.1, -0.1] * 8).judgement()
    assert short.verdict is Verdict.INCONCLUSIVE
    assert "stopped short of 200" in short.reason and "more pairs would decide" in short.reason
    even = run([0.1, -0.1] * 100).judgement()
    assert "budget ended; too close to the bound" in even.reason
    for judged in (passed, noise, short, even):
        assert "\n" not in judged.reason


def test_on_a_noisy_machine_a_wide_claim_passes_and_a_narrow_one_says_why_not():
    rng = np.random.default_rng(37)
    r = ratios(slots("spikes", rng, runs=1), rng, 1.5)[0]
    wide, narrow = run(r, target=1.1, tau=0.08).judgement(), run(r, target=1.4, tau=0.08).judgement()
    assert wide.verdict is Verdict.PASS and "by machine noise of 8.00%" in wide.reason
    assert narrow.verdict is Verdict.INCONCLUSIVE
    assert "the machine's noise covers the gap, so more pairs will not help" in narrow.reason
    assert run(r, target=1.4).verdict is Verdict.PASS  # nothing but the noise is in its way


def test_without_a_target_there_is_an_estimate_and_no_verdict():
    test = run([0.1] * 200, target=None)
    judged = test.judgement()
    assert (judged.verdict, judged.bound, test.done) == (None, None, True)
    assert judged.value == pytest.approx(math.exp(0.1))


# --- the anytime interval --------------------------------------------------------------------


def test_the_interval_covers_at_the_moment_a_hostile_rule_stops():
    """Stops each run as soon as the truth lies outside the interval, if ever."""
    alpha = 0.05
    rng = np.random.default_rng(19)
    r = ratios(slots("independent", rng), rng)
    needed = np.array([wins_needed(n, alpha / 2) for n in range(1, PAIRS + 1)])
    stop = np.minimum(np.minimum(*crossings(r, needed=needed)), PAIRS - 1)
    missed = 0
    for row, at in zip(r, stop, strict=True):
        low, high = anytime_interval(row[: at + 1], alpha)
        assert (low > 0 or high < 0) == (at < PAIRS - 1 or max((row > 0).sum(), (row < 0).sum()) >= needed[-1])
        missed += low > 0 or high < 0
    assert 0.02 < missed / RUNS <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / RUNS)


def test_the_interval_is_made_of_order_statistics():
    r = np.random.default_rng(23).permutation(100) / 100
    needed = wins_needed(100, 0.025)
    assert anytime_interval(r, 0.05) == ((100 - needed) / 100, (needed - 1) / 100)
    assert anytime_interval(r[:5], 0.05) == (-math.inf, math.inf)
    judged = run([0.1] * 3).judgement()
    assert (judged.low, judged.high) == (0.0, math.inf)


# --- how many more pairs ---------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [[1, 1, -1], [1, 1, 1, -1, -1], [-1, -1, 1]])
def test_the_hint_comes_true_when_the_wins_keep_their_share(pattern):
    seen = [0.1 * s for s in pattern] * 8
    more = pairs_to_decide(seen, 1.0, 0.0, ALPHA)
    test = run([0.1 * s for s in pattern] * 200, budget=1000)
    assert len(seen) + more == pytest.approx(test.decided_at, rel=0.1)


def test_no_hint_without_hope():
    assert pairs_to_decide([0.1, -0.1] * 50, 1.0, 0.0, ALPHA) is None
    assert pairs_to_decide([0.1] * 51 + [-0.1] * 49, 1.0, 0.0, ALPHA) is None
    assert pairs_to_decide([0.05] * 100, 1.0, 0.05, ALPHA) is None  # inside the machine's noise
    assert pairs_to_decide([0.05] * 100, 1.0, 0.0, ALPHA) == 0


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_e_value(5, 4), "wins must lie"),
        (lambda: log_e_value(-1, 4), "wins must lie"),
        (lambda: wins_needed(-1, 0.01), "pairs must not"),
        (lambda: wins_needed(5, 0.0), "alpha must be"),
        (lambda: anytime_interval([], 0.05), "log ratios must be"),
        (lambda: anytime_interval([0.1, math.nan], 0.05), "log ratios must be"),
        (lambda: anytime_interval([0.1], 1.5), "alpha must be"),
        (lambda: SpeedTest(0.0), "target must be"),
        (lambda: SpeedTest(math.nan), "target must be"),
        (lambda: SpeedTest(1.0, alpha=0.5), "alpha must be"),
        (lambda: SpeedTest(1.0, tau=-0.1), "tau must be"),
        (lambda: SpeedTest(1.0, tau=math.nan), "tau must be"),
        (lambda: SpeedTest(1.0, budget=0), "budget must be"),
        (lambda: SpeedTest(1.0).add(math.inf), "must be finite"),
        (lambda: SpeedTest(1.0).judgement(), "log ratios must be"),
        (lambda: pairs_to_decide([], 1.0, 0.0, 0.01), "log ratios must be"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_the_machines_noise_covers_is_not_measured_on_in_vain():
    ratios = math.log(2.0) + np.random.default_rng(0).normal(0, 0.02, 200)
    noisy, quiet = SpeedTest(1.9, tau=0.08), SpeedTest(1.9, tau=0.0)
    for test in (noisy, quiet):
        for ratio in ratios:
            if test.done:
                break
            test.add(ratio)
    assert (noisy.verdict, noisy.pairs < 20) == (None, True)
    assert noisy.judgement().verdict is Verdict.INCONCLUSIVE
    assert "the machine's noise covers the gap, so more pairs will not help" in noisy.judgement().reason
    assert quiet.verdict is Verdict.PASS
    clear = SpeedTest(1.5, tau=0.08)
    for ratio in ratios[:20]:
        assert clear.verdict is not None or not clear.futile
        clear.add(ratio)
    assert clear.verdict is Verdict.PASS
