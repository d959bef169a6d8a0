"""Scores in [0, 1]: error rates at the bound where answers change much, little, rarely and by words, by simulation.

Simulated sets are judged by `bounds`, vectorised over sets that share their resampling, as the same seed gives;
`test_the_function_is_the_vectorised_bootstrap` ties it to the function.
"""

import math
from functools import cache

import numpy as np
import pytest
from scipy import special, stats

from benchmarks.verdicts import Verdict, resolves_score, score_drop, score_interval, whole_examples
from benchmarks.verdicts.score import FEWEST_CHANGED, FEWEST_SCORED, _stringer

SETS, RESAMPLES, ALPHA = 1000, 2000, 0.05
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) * (1 / SETS + 1 / RESAMPLES))
DROP = 0.02


@cache
def draws(n):
    """How often each example is drawn in each resample (resamples, examples), as scipy does with seed 0."""
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    counts = np.zeros((RESAMPLES, n))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1)
    return counts


def bounds(lost, weights):
    """The bounds of `score_drop` for each set (rows). lost: differences of scores times weights."""
    n = lost.shape[1]
    drawn = np.sort(((draws(n) @ lost.T) / (draws(n) @ weights.T)).T, axis=1)
    total, count = lost.sum(axis=1, keepdims=True), weights.sum(axis=1, keepdims=True)
    left_out = (total - lost) / (count - weights)
    u = left_out.mean(axis=1, keepdims=True) - left_out
    with np.errstate(invalid="ignore"):
        acceleration = np.nan_to_num((u**3).sum(axis=1) / (6 * (u**2).sum(axis=1) ** 1.5))
    seen = total / count
    bias = special.ndtri(np.clip(((drawn < seen).mean(axis=1) + (drawn <= seen).mean(axis=1)) / 2, 1e-6, 1 - 1e-6))
    level = special.ndtr(-math.sqrt(n / (n - 1)) * stats.t.ppf(1 - ALPHA, n - 1))
    made = []
    for z in (special.ndtri(level), -special.ndtri(level)):
        at = special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) * (RESAMPLES - 1)
        rows, below = np.arange(len(drawn)), np.floor(at).astype(int)
        above = np.minimum(below + 1, RESAMPLES - 1)
        made.append(drawn[rows, below] + (at - below) * (drawn[rows, above] - drawn[rows, below]))
    for i in np.flatnonzero((lost != 0).sum(axis=1) < FEWEST_CHANGED):
        made[0][i], made[1][i] = -_stringer(-lost[i], weights[i], ALPHA), _stringer(lost[i], weights[i], ALPHA)
    return made


def examples(kind, n, drop=DROP, sets=SETS, seed=1):
    """Differences of scores times weights, and weights, (sets, n), at a true drop.

    `all`: every answer moves. `some`: three in ten. `few`: some lose half, the rest nothing. `derailed`: as `few`,
    and three in ten move a little. `words`: 4 to 40 words a sentence, each sentence with its own rate of losses.
    """
    rng = np.random.default_rng(seed)
    ones, half = np.ones((sets, n)), rng.uniform(0.2, 0.8, (sets, n))
    moved, hit = rng.random((sets, n)) < 0.3, rng.random((sets, n)) < 2 * drop
    if kind == "all":
        return drop + 0.1 * rng.standard_normal((sets, n)), ones
    if kind == "some":
        return np.where(moved, drop / 0.3 + 0.2 * rng.standard_normal((sets, n)), 0.0), ones
    if kind in ("few", "derailed"):
        little = 0.05 * rng.standard_normal((sets, n)) if kind == "derailed" else 0.0
        return np.where(hit, half, np.where(moved, little, 0.0)), ones
    words = np.round(np.exp(rng.uniform(math.log(4), math.log(40), (sets, n))))
    rates = [rng.beta(0.5, 0.5 / mean - 0.5, (sets, n)) for mean in (drop + 0.01, 0.01)]
    lost, gained = (rng.binomial(words.astype(int), rate) for rate in rates)
    return (lost - gained).astype(float), words


def shares(kind, n, drop=DROP, bound=None):
    """(passes, failures) at a bound, the true drop where None."""
    low, high = bounds(*examples(kind, n, drop))
    at = drop if bound is None else bound
    return np.mean(high < at), np.mean(low > at)


def test_the_function_is_the_vectorised_bootstrap(monkeypatch):
    monkeypatch.setattr(whole_examples, "RESAMPLES", RESAMPLES)
    for kind in ("words", "few"):
        lost, weights = examples(kind, 210, sets=3)
        for i, (low, high) in enumerate(zip(*bounds(lost, weights), strict=True)):
            share = np.clip(lost[i] / weights[i], -1, 1)
            dense, compressed = np.maximum(share, 0), np.maximum(-share, 0)
            judged = score_drop(dense, compressed, None, weights=weights[i])
            assert (judged.low, judged.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("kind", ["all", "some", "words"])
@pytest.mark.parametrize("drop", [0.01, 0.03])
def test_errors_at_the_bound_stay_near_five_percent(kind, drop):
    assert max(shares(kind, FEWEST_SCORED, drop)) <= 0.07 + CHANCE


@pytest.mark.parametrize(("n", "most"), [(FEWEST_SCORED, 0.10), (500, 0.07)])
def test_answers_that_derail_cost_what_the_documentation_says(n, most):
    assert shares("derailed", n, 0.01)[0] <= most


def test_fewer_examples_would_not_show_the_answers_that_derail():
    assert shares("derailed", 50, 0.01)[0] > 0.25
    assert shares("derailed", 100, 0.01)[0] > 0.12


@pytest.mark.parametrize("drop", [0.005, 0.01, 0.03])
def test_few_changes_are_not_taken_for_none(drop):
    """A bootstrap alone says of no change that nothing is lost: here 200 examples without one are usual."""
    assert shares("few", FEWEST_SCORED, drop)[0] <= ALPHA


def test_a_clear_drop_fails_and_none_passes():
    assert shares("some", 500, drop=0.06, bound=0.02)[1] > 0.95
    assert shares("some", 1500, drop=0.0, bound=0.02)[0] > 0.95


def test_a_lossless_model_clears_its_detectable_drop_four_times_in_five():
    lost, _ = examples("some", 400, drop=0.0)
    judged = score_drop(np.clip(lost[0], 0, 1), np.clip(-lost[0], 0, 1), None)
    usual = 2.487 * 0.2 * math.sqrt(0.3 / 400)
    assert judged.minimum_detectable == pytest.approx(usual, rel=0.15)
    assert shares("some", 400, 0.0, usual)[0] == pytest.approx(0.8, abs=0.06)


def test_the_value_is_the_drop_of_the_share_of_all_words():
    rng = np.random.default_rng(2)
    words = rng.integers(1, 30, 300)
    before, after = (rng.binomial(words, rate) for rate in (0.95, 0.93))
    judged = score_drop(before / words, after / words, 0.1, weights=words)
    assert judged.value == pytest.approx((before.sum() - after.sum()) / words.sum())
    assert judged.dense_score == pytest.approx(before.sum() / words.sum())
    assert judged.low < judged.value < judged.high and judged.method == "BCa bootstrap"
    assert judged.lower == (after < before).sum() and judged.higher == (after > before).sum()
    low, high = score_interval(after / words, weights=words)
    assert low < after.sum() / words.sum() < high
    usual = 1.96 * math.sqrt(0.93 * 0.07 / words.sum())  # words are independent here
    assert (high - low) / 2 == pytest.approx(usual, rel=0.2)


def test_the_same_loss_everywhere_leaves_nothing_uncertain():
    judged = score_drop([0.5] * 250, [0.48] * 250, 0.03)
    assert (judged.verdict, judged.method) == (Verdict.PASS, "constant")
    assert judged.low == judged.high == judged.value == pytest.approx(0.02)


@pytest.mark.parametrize(("n", "verdict"), [(200, Verdict.INCONCLUSIVE), (298, Verdict.INCONCLUSIVE), (299, "pass")])
def test_no_change_is_bounded_by_how_many_did_not_change(n, verdict):
    judged = score_drop([0.4] * n, [0.4] * n, 0.01)
    assert (judged.verdict, judged.value, judged.method) == (verdict, 0.0, "Stringer bound")
    assert judged.high == pytest.approx(1 - 0.05 ** (1 / n)) and judged.low == pytest.approx(-judged.high)
    perfect = score_interval([1.0] * n)
    assert perfect == (pytest.approx(0.025 ** (1 / n)), 1.0)


def test_stringers_bound_is_that_of_a_binomial_where_losses_are_whole():
    lost = np.zeros(400)
    lost[:4] = 1.0
    assert _stringer(lost, np.ones(400), 0.05) == pytest.approx(stats.beta.ppf(0.95, 5, 396))


def test_nothing_is_rounded_before_comparing_and_the_reason_is_one_line():
    lost, _ = examples("some", 400, sets=1, drop=0.05)
    dense, compressed = 0.6 + lost[0] / 2, 0.6 - lost[0] / 2
    dense, compressed = np.clip(dense, 0, 1), np.clip(compressed, 0, 1)
    judged = score_drop(dense, compressed, None, name="chrF")
    assert judged.verdict is None and "bound" not in judged.reason and "\n" not in judged.reason
    assert judged.reason.startswith("chrF drop ") and " over 400 examples, " in judged.reason
    for bound, verdict in (
        (judged.high, Verdict.INCONCLUSIVE),
        (math.nextafter(judged.high, 1), Verdict.PASS),
        (judged.low, Verdict.INCONCLUSIVE),
        (math.nextafter(judged.low, 0), Verdict.FAIL),
    ):
        assert score_drop(dense, compressed, bound).verdict is verdict
    assert score_drop(dense, compressed, 0.1, seed=4) == score_drop(dense, compressed, 0.1, seed=4)


def test_fewer_than_two_hundred_examples_are_measured_and_not_judged():
    message = "199 examples cannot carry a verdict on scores: needs 200"
    assert resolves_score(200) is None and resolves_score(199) == message
    few = np.linspace(0.2, 0.8, 199)
    assert score_drop(few, few / 2, None).value == pytest.approx(0.25)
    with pytest.raises(ValueError, match=message):
        score_drop(few, few, 0.01)


ONES = [1.0] * 250


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_drop([], [], 0.01), "non-empty"),
        (lambda: score_drop([1.0], [1.0], None), "needs two"),
        (lambda: score_drop(ONES, ONES[1:], 0.01), "numbers of examples differ: 250 dense, 249"),
        (lambda: score_drop(ONES, ONES, 0.01, weights=ONES[1:]), "249 weights"),
        (lambda: score_drop(ONES, ONES, 0.01, weights=[0.0] * 250), "weights must be above 0"),
        (lambda: score_drop(ONES, [1.1] * 250, 0.01), "compressed scores must lie between 0 and 1"),
        (lambda: score_drop([math.nan] * 250, ONES, 0.01), "dense scores must be"),
        (lambda: score_drop(ONES, ONES, 0.0), "bound must be"),
        (lambda: score_drop(ONES, ONES, 0.01, alpha=0.5), "alpha must be"),
        (lambda: resolves_score(-1), "must not be negative"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
