"""The sequential speed test run by run: its verdict, estimate, interval and reason against independent truth."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from simulated_slots import ALPHA, NEVER, PAIRS, RUNS, crossings, sides, slots

from benchmarks.verdicts import FEWEST, SpeedTest, Verdict, anytime_interval, log_e_value, log_speedup, pairs_to_decide


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


# --- the verdict -------------------------------------------------------------------------------


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


# --- estimate and interval ---------------------------------------------------------------------


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


# --- how many more pairs -----------------------------------------------------------------------


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


# --- bad input ---------------------------------------------------------------------------------


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
