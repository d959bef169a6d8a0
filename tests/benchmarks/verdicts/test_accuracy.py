"""The accuracy verdict against independent truth: scipy's bootstrap, beta quantiles, enumeration, simulation."""

import math
import time
from functools import cache

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts import (
    AccuracyJudgement,
    Verdict,
    accuracy,
    accuracy_drop,
    minimum_detectable_effect,
    proportion_interval,
    resolves,
)

RUNS = 4000


def outcomes(both, lost, gained, neither):
    """Dense and compressed 0/1 outcomes with these four cell counts, in an arbitrary order."""
    dense = np.repeat([1, 1, 0, 0], [both, lost, gained, neither])
    compressed = np.repeat([1, 0, 1, 0], [both, lost, gained, neither])
    order = np.random.default_rng(0).permutation(dense.size)
    return dense[order], compressed[order]


@cache
def judged(n, lost, gained, margin, dense_correct=None) -> AccuracyJudgement:
    """By cell counts; relative to the dense accuracy when `dense_correct` is given."""
    right = n - gained if dense_correct is None else dense_correct
    data = outcomes(right - lost, lost, gained, n - right - gained)
    return accuracy_drop(*data, margin, relative=dense_correct is not None)


def error_rates(n, discordance, margin, runs=RUNS, true_drop=None):
    """Shares of pass and fail among runs with this true drop (the margin: each verdict is an error)."""
    drop = margin if true_drop is None else true_drop
    chances = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    flips = np.random.default_rng(29).multinomial(n, chances, size=runs)
    drawn, counts = np.unique(flips[:, :2], axis=0, return_counts=True)
    made = [judged(n, int(lost), int(gained), margin).verdict for lost, gained in drawn]
    return [counts[[m is v for m in made]].sum() / runs for v in (Verdict.PASS, Verdict.FAIL)]


@pytest.mark.parametrize(
    ("n", "discordance", "margin"),
    [(100, 0.12, 0.05), (400, 0.05, 0.02), (872, 0.02, 0.01), (872, 0.04, 0.01), (3000, 1 / 150, 1 / 1500)],
)
def test_errors_at_the_margin_stay_near_five_percent(n, discordance, margin):
    false_pass, false_fail = error_rates(n, discordance, margin)
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
    assert 0.005 < false_pass <= limit
    assert 0.005 < false_fail <= limit


def test_errors_with_a_relative_margin():
    n, margin, runs = 500, 0.03, 1200
    chances = [0.76, 0.05, 0.05 - margin * 0.81, 0.14 + margin * 0.81]  # mean z is exactly zero
    made = [
        judged(n, int(lost), int(gained), margin, int(both + lost)).verdict
        for both, lost, gained, _ in np.random.default_rng(31).multinomial(n, chances, size=runs)
    ]
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.02 < made.count(Verdict.PASS) / runs <= limit
    assert 0.02 < made.count(Verdict.FAIL) / runs <= limit


@pytest.mark.parametrize(("margin", "discordance"), [(0.2, 0.2), (0.2, 0.25), (0.1, 0.15), (0.05, 0.06)])
def test_errors_of_the_exact_path_by_full_enumeration(margin, discordance):
    """Every outcome of 40 examples with its exact probability, at a true drop equal to the margin."""
    n, errors, total = 40, {Verdict.PASS: 0.0, Verdict.FAIL: 0.0, Verdict.INCONCLUSIVE: 0.0}, 0.0
    p_lost, p_gained = (discordance + margin) / 2, (discordance - margin) / 2
    for lost in range(10):
        for gained in range(10 - lost):
            p = stats.multinomial.pmf([lost, gained, n - lost - gained], n, [p_lost, p_gained, 1 - discordance])
            result = judged(n, lost, gained, margin)
            assert (result.method == "exact binomial") == (lost + gained < 10)
            errors[result.verdict] += p
            total += p
    assert total > 0.4  # the exact path is what is being enumerated
    assert errors[Verdict.PASS] <= 0.05 and errors[Verdict.FAIL] <= 0.05


def test_exact_bounds_follow_the_beta_quantiles():
    result = judged(300, 5, 2, 0.02)
    assert (result.method, judged(300, 5, 5, 0.02).method) == ("exact binomial", "BCa bootstrap")
    upper_lost, lower_gained = stats.beta.ppf(0.975, 6, 295), stats.beta.ppf(0.025, 2, 299)
    assert result.high == pytest.approx(upper_lost - lower_gained, abs=1e-9)
    assert result.low == pytest.approx(stats.beta.ppf(0.025, 5, 296) - stats.beta.ppf(0.975, 3, 298), abs=1e-9)


def test_relative_exact_bounds_split_alpha_in_three():
    result, tail = judged(300, 5, 2, 0.1, 240), 0.05 / 3

    def low(k):
        return stats.beta.ppf(tail, k, 301 - k)

    def high(k):
        return stats.beta.ppf(1 - tail, k + 1, 300 - k)

    assert result.bound - result.high == pytest.approx(0.1 * low(240) - high(5) + low(2), abs=1e-9)
    assert result.bound - result.low == pytest.approx(0.1 * high(240) - low(5) + high(2), abs=1e-9)


@pytest.mark.parametrize(
    ("cells", "margin", "relative"),
    [((70, 14, 0, 36), 0.05, True), ((60, 3, 40, 17), 0.3, True), ((90, 40, 25, 45), 0.02, False)],
)
def test_the_bootstrap_is_scipys(cells, margin, relative, monkeypatch):
    """Many resamples on both sides: the skewed cases see bias and acceleration, if they are wrong."""
    monkeypatch.setattr(accuracy, "RESAMPLES", 200_000)
    dense, compressed = outcomes(*cells)
    z = compressed - (1 - margin) * dense if relative else compressed - dense + margin
    result, step = accuracy_drop(dense, compressed, margin, relative=relative), 1 / dense.size
    assert result.method == "BCa bootstrap"
    drawn = stats.bootstrap(
        (z,), np.mean, n_resamples=100_000, batch=5000, method="BCa", random_state=np.random.default_rng(1)
    )
    for side, ours in (("greater", result.bound - result.high), ("less", result.bound - result.low)):
        interval = stats.bootstrap(
            (z,), np.mean, confidence_level=0.95, alternative=side, n_resamples=0, bootstrap_result=drawn
        ).confidence_interval
        if side == "greater":  # undo the documented move outward by one example
            assert ours + step == pytest.approx(interval.low, abs=0.15 * step)
        else:
            assert ours - step == pytest.approx(interval.high, abs=0.15 * step)


def test_no_flip_at_all_passes_where_the_set_resolves_the_margin_and_only_there():
    for n, margin in ((183, 0.02), (368, 0.01), (72, 0.05)):
        assert resolves(n, margin) is None
        assert judged(n, 0, 0, margin).verdict is Verdict.PASS
        assert f"needs {n}" in resolves(n - 1, margin)
        assert judged(n - 1, 0, 0, margin).verdict is Verdict.INCONCLUSIVE
    assert resolves(367, 0.01) == "367 examples cannot resolve a margin of 1 points even without a flip: needs 368"


def test_resolving_a_relative_margin_is_harder():
    message = resolves(400, 0.01, dense_accuracy=0.8)
    needed = int(message.rsplit(" ", 1)[1])
    assert needed > 368 and resolves(needed, 0.01, dense_accuracy=0.8) is None
    dense = round(0.8 * needed)
    assert judged(needed, 0, 0, 0.01, dense).verdict is Verdict.PASS
    assert judged(400, 0, 0, 0.01, 320).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("lost", "gained"), [(0, 40), (5, 40), (0, 4), (30, 60), (0, 1000)])
def test_an_improving_model_passes(lost, gained):
    result = judged(1000, lost, gained, 0.01)
    assert result.verdict is Verdict.PASS and result.value < 0
    assert (result.correct_to_wrong, result.wrong_to_correct) == (lost, gained)


def test_a_three_point_loss_against_one_point_fails_and_never_passes():
    passed, failed = error_rates(2000, 0.06, 0.01, 800, true_drop=0.03)
    assert passed == 0 and failed > 0.9
    assert error_rates(400, 0.06, 0.01, 800, true_drop=0.03)[0] < 0.005  # too few to fail it, still no pass


def test_losing_everything_fails():
    result = judged(50, 50, 0, 0.05)  # constant z: BCa is undefined
    assert (result.verdict, result.method, result.value) == (Verdict.FAIL, "exact binomial", 1.0)
    assert judged(12, 12, 0, 0.05, 12).verdict is Verdict.FAIL


def test_the_same_flips_are_worse_relative_to_a_low_accuracy():
    low, high = judged(2000, 60, 30, 0.05, 600), judged(2000, 60, 30, 0.05, 1900)
    assert low.value == high.value == 0.015
    assert (low.bound, high.bound) == (pytest.approx(0.015), pytest.approx(0.0475))
    assert (low.verdict, high.verdict) == (Verdict.INCONCLUSIVE, Verdict.PASS)


def test_nothing_is_rounded_before_comparing():
    high = judged(1000, 30, 20, 0.5).high
    assert judged(1000, 30, 20, high).verdict is Verdict.INCONCLUSIVE
    assert judged(1000, 30, 20, math.nextafter(high, 1)).verdict is Verdict.PASS
    low = judged(1000, 90, 20, 0.5).low
    assert judged(1000, 90, 20, low).verdict is Verdict.INCONCLUSIVE
    assert judged(1000, 90, 20, math.nextafter(low, 0)).verdict is Verdict.FAIL


def test_the_accuracy_reason_and_evidence():
    result = judged(872, 31, 14, 0.01)
    assert result.reason.startswith("accuracy drop 1.95 [") and "bound 1;" in result.reason
    assert "31 of 872 correct to wrong, 14 wrong to correct" in result.reason and "\n" not in result.reason
    assert result.dense_accuracy - result.compressed_accuracy == pytest.approx(result.value)
    assert result.minimum_detectable == minimum_detectable_effect(872, 45 / 872)
    assert all(type(x) is float for x in (result.value, result.low, result.high, result.bound))


def test_the_seed_fixes_the_bounds_and_large_sets_stay_fast():
    data = outcomes(30_000, 900, 800, 8_300)
    started = time.perf_counter()
    first = accuracy_drop(*data, 0.01, seed=4)
    assert time.perf_counter() - started < 1.0
    assert accuracy_drop(*data, 0.01, seed=4) == first
    assert accuracy_drop(*data, 0.01, seed=5).high == pytest.approx(first.high, abs=2e-4)


@pytest.mark.parametrize(("n", "discordance"), [(2000, 0.08), (800, 0.1)])
def test_a_lossless_model_clears_its_detectable_effect_four_times_in_five(n, discordance):
    margin = minimum_detectable_effect(n, discordance)
    assert error_rates(n, discordance, margin, 1000, true_drop=0.0)[0] == pytest.approx(0.8, abs=0.045)


def test_detectable_effect_without_flips_is_not_zero():
    assert 0.9 * math.log(1 / 0.05) / 500 < minimum_detectable_effect(500, 0.0) < 10 / 500
    assert minimum_detectable_effect(3, 1.0) == 1.0


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 20), (10, 10), (870, 872)])
def test_proportion_interval_is_clopper_pearson(k, n):
    low, high = proportion_interval(k, n)
    assert low == pytest.approx(stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0, abs=1e-9)
    assert high == pytest.approx(stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, abs=1e-9)


def test_a_drop_without_a_margin_is_measured_and_not_judged() -> None:
    dense = np.ones(500, dtype=bool)
    compressed = dense.copy()
    compressed[:20] = False
    bare = accuracy_drop(dense, compressed, None)
    judged = accuracy_drop(dense, compressed, 0.02)
    assert (bare.value, bare.low, bare.high) == (judged.value, judged.low, judged.high)
    assert bare.verdict is None and bare.bound is None and "bound" not in bare.reason
    assert judged.verdict == Verdict.FAIL


# --- bad input -------------------------------------------------------------------------------

ONES = [1] * 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy_drop([], [], 0.01), "non-empty"),
        (lambda: accuracy_drop(ONES, ONES[1:], 0.01), "lengths differ"),
        (lambda: accuracy_drop(ONES, [math.nan] * 20, 0.01), "compressed outcomes must be"),
        (lambda: accuracy_drop([0.5] * 20, ONES, 0.01), "0 or 1"),
        (lambda: accuracy_drop(ONES, ONES, 0.0), "margin must be"),
        (lambda: accuracy_drop(ONES, ONES, 1.0), "margin must be"),
        (lambda: accuracy_drop(ONES, ONES, math.nan), "margin must be"),
        (lambda: accuracy_drop(ONES, ONES, 0.01, alpha=0.6), "alpha must be"),
        (lambda: minimum_detectable_effect(0, 0.1), "bad examples"),
        (lambda: minimum_detectable_effect(10, math.nan), "bad examples"),
        (lambda: resolves(0, 0.01), "bad number"),
        (lambda: resolves(10, 1.2), "margin must be"),
        (lambda: resolves(10, 0.1, dense_accuracy=0.0), "bad number"),
        (lambda: proportion_interval(3, 2), "successes must lie"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
