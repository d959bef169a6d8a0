"""Perplexity by document: error rates at the bound with heavy tails and uneven documents, by simulation.

Simulated sets are judged by `bounds`, vectorised over sets that share their resampling, as the same
seed gives; `test_the_function_is_the_vectorised_bootstrap` ties it to the function.
"""

import math
import time
from functools import cache

import numpy as np
import pytest
from scipy import special, stats

from benchmarks.verdicts import Verdict, perplexity_rise, resolves_perplexity, whole_examples

SETS, RESAMPLES, ALPHA = 2000, 4000, 0.05
# Sets share their resamples, whose own chance adds to that of the sets; 5 % + CHANCE is 6.8 %.
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) * (1 / SETS + 1 / RESAMPLES))
RISE = 0.02


@cache
def draws(n):
    """How often each document is drawn in each resample (resamples, documents), as scipy does with seed 0."""
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    counts = np.zeros((RESAMPLES, n))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1)
    return counts


def bounds(difference, tokens):
    """BCa bounds of the ratio for each set (rows)."""
    n = difference.shape[1]
    drawn = np.sort(((draws(n) @ difference.T) / (draws(n) @ tokens.T)).T, axis=1)
    total, count = difference.sum(axis=1, keepdims=True), tokens.sum(axis=1, keepdims=True)
    left_out = (total - difference) / (count - tokens)
    u = left_out.mean(axis=1, keepdims=True) - left_out
    acceleration = (u**3).sum(axis=1) / (6 * (u**2).sum(axis=1) ** 1.5)
    bias = special.ndtri((drawn < total / count).mean(axis=1))
    level = special.ndtr(-math.sqrt(n / (n - 1)) * stats.t.ppf(1 - ALPHA, n - 1))
    made = []
    for z in (special.ndtri(level), -special.ndtri(level)):
        at = special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) * (RESAMPLES - 1)
        rows, below = np.arange(len(drawn)), np.floor(at).astype(int)
        above = np.minimum(below + 1, RESAMPLES - 1)
        made.append(drawn[rows, below] + (at - below) * (drawn[rows, above] - drawn[rows, below]))
    return made


def documents(kind, n, sets=SETS, rise=RISE, seed=1):
    """Differences of negative log-likelihood and token counts, (sets, n), at a true rise of perplexity.

    Token counts vary tenfold. Each document has its own effect per token, 4 nats in a hundred wide; on top
    each token has its own noise. `mixed`: longer documents lose more, so the ratio is not a plain mean.
    """
    rng = np.random.default_rng(seed)
    tokens = np.round(np.exp(rng.uniform(math.log(100), math.log(1000), (sets, n))))
    if kind == "normal":
        effect = rng.standard_normal((sets, n))
    elif kind == "student":
        effect = rng.standard_t(3, (sets, n))
    else:
        effect = np.exp(rng.standard_normal((sets, n))) - math.exp(0.5)
    if kind == "lost outliers":  # a few documents lose much, the rest little
        effect = effect / 2
    if kind == "gained outliers":
        effect = -effect / 2
    if kind == "mixed":
        effect = effect / 2 + np.log(tokens) - TOKEN_WEIGHTED
    token_noise = 0.3 * rng.standard_normal((sets, n)) * np.sqrt(tokens)
    return tokens * (math.log1p(rise) + 0.04 * effect) + token_noise, tokens


# mean of ln(tokens) weighted by tokens, for tokens log-uniform between 100 and 1000
TOKEN_WEIGHTED = (1000 * (math.log(1000) - 1) - 100 * (math.log(100) - 1)) / 900


def shares(kind, n, bound=RISE, **kwargs):
    low, high = bounds(*documents(kind, n, **kwargs))
    return np.mean(high < math.log1p(bound)), np.mean(low > math.log1p(bound))


def test_the_function_is_the_vectorised_bootstrap(monkeypatch):
    monkeypatch.setattr(whole_examples, "RESAMPLES", RESAMPLES)
    for n in (50, 130):
        difference, tokens = documents("mixed", n, sets=3)
        dense = 2.5 * tokens
        for i, (low, high) in enumerate(zip(*bounds(difference, tokens), strict=True)):
            judged = perplexity_rise(dense[i], dense[i] + difference[i], tokens[i], RISE)
            assert math.log1p(judged.low) == pytest.approx(low, abs=1e-9)
            assert math.log1p(judged.high) == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize("n", [50, 200])
def test_errors_at_the_bound_stay_near_five_percent(n):
    for error in shares("normal", n):
        assert 0.02 < error <= ALPHA + CHANCE


@pytest.mark.parametrize("kind", ["student", "lost outliers", "gained outliers", "mixed"])
@pytest.mark.parametrize(("n", "most"), [(50, 0.12), (200, 0.09)])
def test_heavy_tails_cost_what_the_documentation_says(kind, n, most):
    """A tail that few of the documents show is bounded too tightly by any bootstrap; it fades with n."""
    assert max(shares(kind, n)) <= most


def test_the_check_above_would_see_tokens_resampled():
    """Resampling 20,000 tokens comes to the normal interval of their mean: its deviation is known here."""
    difference, tokens = documents("normal", 50)
    count = tokens.sum(axis=1)
    value = difference.sum(axis=1) / count
    reach = stats.norm.isf(ALPHA) * np.sqrt((0.3**2 + 0.04**2) / count)
    assert np.mean(value + reach < math.log1p(RISE)) > 0.2
    assert np.mean(value - reach > math.log1p(RISE)) > 0.2


def test_a_lossless_model_clears_its_detectable_rise_four_times_in_five():
    difference, tokens = documents("normal", 200, rise=0.0)
    few = zip(difference[:3], tokens[:3], strict=True)
    detectable = [perplexity_rise(2 * t, 2 * t + d, t, None).minimum_detectable for d, t in few]
    assert shares("normal", 200, float(np.mean(detectable)), rise=0.0)[0] == pytest.approx(0.8, abs=0.06)


def test_a_clear_rise_fails_and_a_clear_gain_passes():
    assert shares("lost outliers", 100, rise=0.05)[1] > 0.95
    assert shares("lost outliers", 100, rise=-0.02)[0] > 0.95


def example(n=60, rise=0.01, seed=3):
    difference, tokens = documents("normal", n, sets=1, rise=rise, seed=seed)
    dense = 2.0 * tokens[0]
    return dense, dense + difference[0], tokens[0]


def test_the_value_is_the_ratio_of_the_two_perplexities():
    dense, compressed, tokens = example()
    judged = perplexity_rise(dense, compressed, tokens, RISE)
    assert judged.dense_perplexity == pytest.approx(math.exp(2))
    assert judged.compressed_perplexity == pytest.approx(math.exp(compressed.sum() / tokens.sum()))
    assert judged.value == pytest.approx(judged.compressed_perplexity / judged.dense_perplexity - 1)
    assert (judged.documents, judged.tokens, judged.method) == (60, int(tokens.sum()), "BCa bootstrap")
    assert judged.low < judged.value < judged.high and judged.confidence == pytest.approx(0.9)
    assert all(type(x) is float for x in (judged.value, judged.low, judged.high, judged.minimum_detectable))


def test_the_unit_of_documents_not_their_order_or_scale_decides():
    dense, compressed, tokens = example()
    first = perplexity_rise(dense, compressed, tokens, RISE)
    longer = perplexity_rise(10 * dense, 10 * compressed, 10 * tokens, RISE)  # ten times the tokens, no wider net
    assert (longer.value, longer.low, longer.high) == pytest.approx((first.value, first.low, first.high))


def test_nothing_is_rounded_before_comparing():
    judged = perplexity_rise(*example(), None)
    assert judged.verdict is None and judged.bound is None and "bound" not in judged.reason
    for bound, verdict in (
        (judged.high, Verdict.INCONCLUSIVE),
        (math.nextafter(judged.high, 1), Verdict.PASS),
        (judged.low, Verdict.INCONCLUSIVE),
        (math.nextafter(judged.low, 0), Verdict.FAIL),
    ):
        if bound > 0:
            assert perplexity_rise(*example(), bound).verdict is verdict


@pytest.mark.parametrize(("rise", "verdict"), [(0.0, Verdict.PASS), (0.01, Verdict.PASS), (0.03, Verdict.FAIL)])
def test_the_same_loss_in_every_token_leaves_nothing_uncertain(rise, verdict):
    dense, _, tokens = example()
    judged = perplexity_rise(dense, dense + tokens * math.log1p(rise), tokens, RISE)
    assert (judged.verdict, judged.method) == (verdict, "constant")
    assert judged.low == judged.high == judged.value == pytest.approx(rise, abs=1e-12)
    assert judged.minimum_detectable == pytest.approx(0.0, abs=1e-12)


def test_one_document_that_differs_is_not_constant():
    dense, _, tokens = example()
    compressed = dense.copy()
    compressed[7] += 5.0
    judged = perplexity_rise(dense, compressed, tokens, RISE)
    assert judged.method == "BCa bootstrap" and 0 <= judged.low < judged.value < judged.high


def test_the_reason_is_one_line():
    judged = perplexity_rise(*example(), RISE)
    assert judged.reason.startswith("perplexity rise ") and ", bound 2 %; 7.3891 to " in judged.reason
    assert f"over 60 documents, {judged.tokens} tokens; detectable " in judged.reason and "\n" not in judged.reason


def test_fewer_than_fifty_documents_carry_no_verdict():
    assert resolves_perplexity(50) is None
    message = "49 documents cannot carry a verdict on perplexity: needs 50"
    assert resolves_perplexity(49) == message
    with pytest.raises(ValueError, match=message):
        perplexity_rise(*example(49), RISE)


def test_the_seed_fixes_the_bounds_and_large_sets_stay_within_seconds():
    data = example(2000)
    started = time.perf_counter()
    first = perplexity_rise(*data, RISE, seed=4)
    assert time.perf_counter() - started < 5.0
    assert perplexity_rise(*data, RISE, seed=4) == first
    assert perplexity_rise(*data, RISE, seed=5).high == pytest.approx(first.high, abs=2e-4)


# --- bad input -------------------------------------------------------------------------------

ONES = [1.0] * 60


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perplexity_rise([], [], [], RISE), "non-empty"),
        (lambda: perplexity_rise(ONES, ONES[1:], ONES, RISE), "numbers of documents differ: 60 dense, 59"),
        (lambda: perplexity_rise(ONES, ONES, ONES[1:], RISE), "59 token counts"),
        (lambda: perplexity_rise(ONES, [math.inf] * 60, ONES, RISE), "compressed negative log-likelihoods must be"),
        (lambda: perplexity_rise(ONES, ONES, [0] * 60, RISE), "token counts must be"),
        (lambda: perplexity_rise(ONES, ONES, [1.5] * 60, RISE), "token counts must be"),
        (lambda: perplexity_rise(ONES, ONES, ONES, 0.0), "bound must be"),
        (lambda: perplexity_rise(ONES, ONES, ONES, math.nan), "bound must be"),
        (lambda: perplexity_rise(ONES, ONES, ONES, RISE, alpha=0.5), "alpha must be"),
        (lambda: resolves_perplexity(-1), "must not be negative"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
