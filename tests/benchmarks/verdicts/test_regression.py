"""Regression against history, by simulation of whole histories and of what each guard is there for.

Simulated runs are judged by `cut`, vectorised, which `test_the_function_judges_as_the_vectorised_rule`
ties to the function. Each guard is also shown broken: without it the same check sees the fault.
"""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts import (
    Change,
    ChangeJudgement,
    Recurrence,
    confirmed,
    control_false_discoveries,
    detectable,
    judge_against_anchor,
    judge_change,
    runs_to_detect,
)

RUNS, ALPHA, TAU = 20_000, 0.01, 0.02  # at tau 2 % the limit and not the floor of 3 % decides
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 1 % + CHANCE is 1.2 %: 2 % is told apart


# --- one case against its history --------------------------------------------------------------


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


def simulate(kind, count, drop=0.0, runs=RUNS, seed=1, **kwargs):
    """Shares of runs that are suspect, and that are after confirmation in two of three reruns."""
    rng = np.random.default_rng(seed)
    history = TAU * noise(kind, rng, (runs, count))
    new = TAU * noise(kind, rng, (runs, 4)) + math.log1p(-drop)
    suspect, _ = cut(history, new, **kwargs)
    return suspect[:, 0].mean(), (suspect[:, 0] & (suspect[:, 1:].sum(axis=1) >= 2)).mean()


@pytest.mark.parametrize("floor", [0.0, 0.03])
@pytest.mark.parametrize("tau", [0.02, None])
def test_the_function_judges_as_the_vectorised_rule(tau, floor):
    rng = np.random.default_rng(2)
    history = TAU * noise("spiked", rng, (300, 8))
    new = TAU * noise("normal", rng, (300, 1)) + rng.uniform(-0.2, 0.2, (300, 1))
    suspect, p = cut(history, new, tau or 0.0, floor, prior=0 if tau is None else 4)
    seen = set()
    for row, y, is_suspect, p_value in zip(history, new[:, 0], suspect[:, 0], p[:, 0], strict=True):
        judged = judge_change(row, y, tau, floor=floor)
        assert (judged.outcome is Change.SUSPECT) == is_suspect
        assert judged.p_value == pytest.approx(p_value, rel=1e-9)
        assert judged.change == pytest.approx(math.expm1(y - row.mean()))
        beyond = judged.change < judged.low or judged.change > judged.high
        assert (beyond and abs(judged.change) > floor) or judged.outcome in (Change.UNCHANGED, Change.DOUBTFUL)
        doubted = row.mean() - y > 2 * judged.deviation and -judged.change > floor and not is_suspect
        assert (judged.outcome is Change.DOUBTFUL) == doubted
        mirrored = judge_change(-row, -y, tau, floor=0, higher_is_better=False)
        assert mirrored.p_value == pytest.approx(judged.p_value)
        seen.add(judged.outcome)
    assert seen == {Change.SUSPECT, Change.DOUBTFUL, Change.UNCHANGED, Change.IMPROVED}


@pytest.mark.parametrize("count", [5, 10, 20])
def test_an_unchanged_case_is_rarely_suspect(count):
    suspect, after = simulate("normal", count)
    assert 0.003 < suspect <= ALPHA + CHANCE
    assert after <= 0.001


def test_five_calm_runs_would_pass_for_a_calm_machine_without_shrinkage():
    """The machine's tau left out and the degrees of freedom it stands for kept: s is the sample's own."""
    rng = np.random.default_rng(1)
    history, new = TAU * noise("normal", rng, (RUNS, 5)), TAU * noise("normal", rng, (RUNS, 1))
    scale = history.std(axis=1, ddof=1) * math.sqrt(1 + 1 / 5)
    bare = np.mean(history.mean(axis=1) - new[:, 0] > stats.t.isf(ALPHA, 5 + 3) * scale)
    assert bare > ALPHA + 2 * CHANCE


def test_a_tau_that_is_not_known_costs_power_and_not_validity():
    assert simulate("normal", 5, prior=0)[0] <= ALPHA + CHANCE
    assert simulate("normal", 5, 0.10, prior=0)[0] < simulate("normal", 5, 0.10)[0]


@pytest.mark.parametrize("count", [5, 10, 20])
def test_spikes_make_suspects_that_confirmation_removes(count):
    suspect, after = simulate("spiked", count)
    assert suspect > 0.015  # the t limit alone does not hold under spikes
    assert after < 0.0005


@pytest.mark.parametrize(("drop", "least"), [(0.10, 0.6), (0.20, 0.99)])
def test_a_real_drop_is_found_and_confirmed(drop, least):
    for count in (5, 10, 20):
        assert simulate("normal", count, drop, floor=0.03)[1] > least


def test_a_drop_below_the_floor_is_not_suspect_however_sure():
    history = [0.7 + 1e-4 * i for i in range(10)]
    small = judge_change(history, math.log(0.975) + 0.7, 0.001)
    assert small.outcome is Change.UNCHANGED and small.p_value < 1e-6
    assert judge_change(history, math.log(0.965) + 0.7, 0.001).outcome is Change.SUSPECT
    assert judge_change(history, math.log(0.975) + 0.7, 0.001, floor=0.02).outcome is Change.SUSPECT


def test_only_the_last_twenty_runs_count():
    recent = list(0.01 * np.random.default_rng(3).standard_normal(20))
    judged, bare = judge_change([9.0] * 50 + recent, -0.1, 0.01), judge_change(recent, -0.1, 0.01)
    assert judged == bare and judged.runs == 20


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_history_of_fewer_than_five_is_too_short(length):
    judged = judge_change([0.5] * length, -3.0, 0.01)
    assert judged.outcome is Change.TOO_SHORT
    assert (judged.change, judged.low, judged.high, judged.p_value, judged.runs) == (None, None, None, None, length)
    assert judged.reason.startswith(f"too short: {length} run") and judged.reason.endswith("needs 5")


def test_what_is_smaller_the_better_and_exact():
    size = [math.log(0.25)] * 6
    larger = judge_change(size, math.log(0.26), 0.0, floor=0.01, higher_is_better=False)
    assert larger.outcome is Change.SUSPECT and larger.change == pytest.approx(0.04) and larger.p_value == 0.0
    assert judge_change(size, size[0], 0.0, floor=0.01, higher_is_better=False).p_value == 0.5
    assert judge_change(size, math.log(0.252), 0.0, floor=0.01, higher_is_better=False).outcome is Change.UNCHANGED
    assert judge_change(size, math.log(0.2), 0.0, floor=0.01, higher_is_better=False).outcome is Change.IMPROVED


def test_an_accuracy_drop_is_in_points_and_not_logarithmic():
    drops = [0.010, 0.011, 0.009, 0.010, 0.012]
    keywords = dict(floor=0.005, higher_is_better=False, logarithmic=False)
    worse = judge_change(drops, 0.020, 0.001, **keywords)
    assert worse.outcome is Change.SUSPECT and worse.change == pytest.approx(0.0096)
    assert worse.reason.startswith("suspect: +0.96 points against the mean of 5 runs, limits [")
    assert judge_change(drops, 0.015, 0.001, **keywords).outcome is Change.UNCHANGED  # 0.46 points


def test_the_deviation_is_drawn_towards_the_machines():
    calm = judge_change([0.5] * 5, 0.4, 0.02)
    assert calm.deviation == pytest.approx(math.sqrt(4 * 0.02**2 / 8))
    assert judge_change([0.5] * 5, 0.4, None).deviation == 0.0


def test_a_reason_is_one_line_with_change_limits_and_floor():
    judged = judge_change([0.01, -0.01] * 5, math.log(0.9), 0.01)
    assert judged.reason == "suspect: -10 % against the mean of 10 runs, limits [-2.84, +2.93], floor 3 %, p 1.3e-07"


# --- the anchor --------------------------------------------------------------------------------


def test_slow_creep_hides_in_the_window_and_not_from_the_anchor():
    """1 % slower each run: no run is ever suspect against the twenty before it."""
    values = [n * math.log(0.99) for n in range(26)]
    rolling = [judge_change(values[:n], values[n], 0.01).outcome for n in range(5, 26)]
    assert Change.SUSPECT not in rolling and rolling[-1] is Change.UNCHANGED
    anchored = [judge_against_anchor(values[0], 0.01, values[n], 0.01).outcome for n in range(1, 21)]
    assert anchored == [Change.UNCHANGED] * 3 + [Change.DOUBTFUL] * 2 + [Change.SUSPECT] * 15


def test_an_anchor_of_one_run_is_a_history_of_one():
    judged = judge_against_anchor(0.0, 0.02, -0.08, 0.02)
    assert judged.p_value == pytest.approx(stats.t.sf(0.08 / (0.02 * math.sqrt(2)), 4))
    assert judged.reason.startswith("doubtful: -7.69 % against the accepted value, limits [")


@pytest.mark.parametrize("accepted", [1, 5, 20])
def test_an_unchanged_case_is_rarely_suspect_against_its_anchor(accepted):
    rng = np.random.default_rng(5)
    anchors = TAU * rng.standard_normal((RUNS, accepted)).mean(axis=1)
    limit = judge_against_anchor(0.0, TAU / math.sqrt(accepted), 0.0, TAU).low
    suspect = np.mean(np.expm1(TAU * rng.standard_normal(RUNS) - anchors) < limit)
    assert suspect <= ALPHA + CHANCE
    taken_for_exact = judge_against_anchor(0.0, 0.0, 0.0, TAU).low
    if accepted == 1:  # the anchor's own uncertainty is not an extra
        assert np.mean(np.expm1(TAU * rng.standard_normal(RUNS) - anchors) < taken_for_exact) > suspect


# --- confirmation ------------------------------------------------------------------------------


def run_of(outcome, change=-0.06, error=0.01):
    return ChangeJudgement(outcome, change, -0.03, 0.03, 0.001, 10, 0.01, "", -math.log1p(change), error, 13)


SUSPECT, UNCHANGED = run_of(Change.SUSPECT), run_of(Change.UNCHANGED, -0.01)
DOUBTFUL = run_of(Change.DOUBTFUL, -0.05)
CALM, WIDE = run_of(Change.UNCHANGED, 0.0), run_of(Change.UNCHANGED, 0.0, error=0.1)


@pytest.mark.parametrize(
    ("reruns", "outcome"),
    [
        ([], Recurrence.UNCONFIRMED),
        ([SUSPECT], Recurrence.UNCONFIRMED),
        ([SUSPECT, SUSPECT], Recurrence.REGRESSION),
        ([SUSPECT, UNCHANGED], Recurrence.UNCONFIRMED),
        ([SUSPECT, UNCHANGED, SUSPECT], Recurrence.REGRESSION),
        ([UNCHANGED, UNCHANGED], Recurrence.NOISE),
        ([UNCHANGED, SUSPECT, run_of(Change.IMPROVED, 0.05)], Recurrence.NOISE),
    ],
)
def test_a_suspect_must_recur_in_two_fresh_processes(reruns, outcome):
    made = confirmed(SUSPECT, reruns, [CALM, WIDE], TAU)
    assert made.outcome is outcome and made.reason.startswith(f"{outcome}: suspect in ") and "\n" not in made.reason
    assert (made.recurred, made.reruns) == (reruns.count(SUSPECT), len(reruns))


@pytest.mark.parametrize(
    ("reruns", "outcome"),
    [
        ([], Recurrence.UNCONFIRMED),
        ([UNCHANGED], Recurrence.UNCONFIRMED),
        ([DOUBTFUL, DOUBTFUL], Recurrence.UNCONFIRMED),
        ([UNCHANGED, UNCHANGED], Recurrence.UNCHANGED),
        ([UNCHANGED, DOUBTFUL, run_of(Change.IMPROVED, 0.05)], Recurrence.UNCHANGED),
        ([DOUBTFUL, UNCHANGED, DOUBTFUL], Recurrence.INCONCLUSIVE),
        ([DOUBTFUL, SUSPECT, UNCHANGED], Recurrence.INCONCLUSIVE),
        ([SUSPECT, UNCHANGED, SUSPECT], Recurrence.REGRESSION),
    ],
)
def test_what_is_doubtful_is_settled_by_what_two_fresh_processes_say(reruns, outcome):
    made = confirmed(DOUBTFUL, reruns, [WIDE], TAU)
    assert made.outcome is outcome and made.reason.startswith(f"{outcome}: suspect in ")
    assert confirmed(DOUBTFUL, [UNCHANGED] * 2, [CALM], TAU).outcome is Recurrence.NOISE
    # One by one they are as runs are, and together slower than runs are together.
    assert confirmed(DOUBTFUL, [UNCHANGED] * 2, [SUSPECT], TAU).outcome is Recurrence.UNCONFIRMED
    assert confirmed(DOUBTFUL, [UNCHANGED] * 3, [SUSPECT], TAU).outcome is Recurrence.INCONCLUSIVE


def test_half_of_the_speed_is_never_unchanged_where_runs_differ_by_a_tenth():
    """The fault: one accepted run and runs that differ by 14 % have limits of −52 %, and all within was unchanged."""
    judged = judge_against_anchor(0.0, 0.14, math.log(0.5), 0.14)
    assert judged.outcome is Change.DOUBTFUL and judged.low < -0.5
    assert judge_against_anchor(0.0, 0.14, math.log(2.0), 0.14).outcome is Change.UNCHANGED  # faster is no doubt
    assert judge_against_anchor(0.0, 0.005, math.log(0.98), 0.005).outcome is Change.UNCHANGED  # below the floor


def test_that_the_doubtful_are_looked_at_again_makes_no_false_alarms():
    rng = np.random.default_rng(8)
    anchor, new = TAU * rng.standard_normal((RUNS, 1)), TAU * rng.standard_normal((RUNS, 4))
    drop = anchor - new
    suspect = drop > stats.t.isf(ALPHA, 4) * TAU * math.sqrt(2)
    again = drop[:, 0] > 2 * TAU
    assert 0.06 < again.mean() < 0.10  # what it costs with one accepted run: three reruns of one case in twelve
    plain = (drop[:, 1:] <= 2 * TAU).sum(axis=1) >= 2
    assert (again & (suspect[:, 1:].sum(axis=1) >= 2)).mean() <= 0.001
    assert (again & ~plain).mean() <= 0.03  # left open


@pytest.mark.parametrize(
    ("together", "tau", "outcome"),
    [
        ([WIDE], TAU, Recurrence.INCONCLUSIVE),  # says nothing against being slower
        ([run_of(Change.UNCHANGED, -0.03)], TAU, Recurrence.INCONCLUSIVE),  # less than 2 τ, and not surely
        ([CALM], TAU, Recurrence.NOISE),
        ([CALM, WIDE], TAU, Recurrence.NOISE),
        ([CALM, SUSPECT], TAU, Recurrence.INCONCLUSIVE),  # by one of the two, they are slower together
        ([run_of(Change.UNCHANGED, 0.0, error=0.012)], 0.005, Recurrence.INCONCLUSIVE),  # 3.1 %: above the floor
        ([], TAU, Recurrence.INCONCLUSIVE),
    ],
)
def test_not_slower_is_said_only_where_something_speaks_for_it(together, tau, outcome):
    made = confirmed(SUSPECT, [UNCHANGED] * 3, together, tau)
    assert made.outcome is outcome and made.reason.startswith(f"{outcome}: suspect in 0 of 3")


def test_a_slow_down_of_twice_the_machines_deviation_is_seldom_called_noise_and_none_often():
    rng, error, runs = np.random.default_rng(5), TAU * math.sqrt(1 / 2 + 1 / 20), 4000
    found = {}
    for size in (0.0, 2 * TAU):
        worsening = size + error * rng.standard_normal(runs)
        told = [
            confirmed(SUSPECT, [UNCHANGED] * 2, [run_of(Change.UNCHANGED, math.expm1(-w), error)], TAU).outcome
            for w in worsening
        ]
        found[size] = np.mean([one is Recurrence.NOISE for one in told])
    assert found[2 * TAU] <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / runs)
    assert found[0.0] > 0.4


@pytest.mark.parametrize("count", [1, 3, 10])
def test_what_is_detectable_is_suspect_nine_times_in_ten(count):
    anchor = judge_against_anchor(0.0, TAU / math.sqrt(count), 0.0, TAU, accepted=count)
    least = detectable(anchor)
    assert least is not None
    rng, cut_at = np.random.default_rng(6), stats.t.isf(ALPHA, count + 3) * anchor.error
    worsening = -math.log1p(-least) + anchor.error * rng.standard_t(count + 3, RUNS)
    assert np.mean(worsening > cut_at) == pytest.approx(0.9, abs=0.01)


def test_more_accepted_runs_detect_less_until_the_machine_is_the_limit():
    found = [detectable(judge_against_anchor(0.0, TAU / math.sqrt(k), 0.0, TAU, accepted=k)) for k in (1, 3, 10, 20)]
    assert found == sorted(found, reverse=True)
    needed = runs_to_detect(0.1, 0.025)
    assert 2 <= needed <= 10
    assert detectable(judge_against_anchor(0.0, 0.025 / math.sqrt(needed), 0.0, 0.025, accepted=needed)) <= 0.1
    assert detectable(judge_against_anchor(0.0, 0.025 / math.sqrt(needed - 1), 0.0, 0.025, accepted=needed - 1)) > 0.1
    assert runs_to_detect(0.1, 0.11) is None
    assert detectable(judge_change([0.0] * 3, 0.0, TAU)) is None  # too short a history


def test_the_size_of_a_regression_comes_from_the_reruns_alone():
    reruns = [run_of(Change.SUSPECT, -0.05), run_of(Change.SUSPECT, -0.07)]
    assert confirmed(run_of(Change.SUSPECT, -0.30), reruns).change == pytest.approx(-0.06)
    assert confirmed(SUSPECT, []).change is None


def confirmed_share(apart, lasting, takes=15, runs=40_000):
    """Of false suspects, the share that three reruns `apart` seconds later each confirm, where noise drifts and
    decays by e over `lasting` seconds (AR(1) in time); and the share of suspects."""
    rng = np.random.default_rng(11)
    history = TAU * rng.standard_normal((runs, 10))
    kept = math.exp(-(apart + takes) / lasting)
    new = [rng.standard_normal(runs)]
    for _ in range(3):
        new.append(kept * new[-1] + math.sqrt(1 - kept**2) * rng.standard_normal(runs))
    suspect, _ = cut(history, TAU * np.stack(new, axis=1), floor=0.03)
    first = suspect[:, 0]
    return (suspect[first, 1:].sum(axis=1) >= 2).mean(), first.mean()


def test_noise_that_lasts_confirms_itself_at_once_and_not_a_minute_later():
    at_once, suspect = confirmed_share(0, 60)
    apart, _ = confirmed_share(60, 60)
    assert suspect <= ALPHA
    assert at_once > 0.15
    assert apart < 0.05
    assert confirmed_share(60, 1800)[0] > 0.4  # what lasts longer than a run is not told apart within it


# --- a suite of many cases ---------------------------------------------------------------------


def suites(drop=0.0, worse=0, suites=1500, cases=80, count=10):
    """Which of `suites` x `cases` are suspect, and their p-values; the first `worse` cases truly slower."""
    rng = np.random.default_rng(7)
    shifts = np.where(np.arange(cases) < worse, math.log1p(-drop), 0.0)
    history = TAU * rng.standard_normal((suites * cases, count))
    new = TAU * rng.standard_normal((suites * cases, 1)) + np.tile(shifts, suites)[:, None]
    suspect, p = cut(history, new)
    return suspect.reshape(suites, cases), p.reshape(suites, cases)


def kept(p):
    names = [control_false_discoveries(dict(zip(map(str, range(row.size)), row, strict=True))) for row in p]
    return np.array([[str(i) in row for i in range(p.shape[1])] for row in names])


def test_a_suite_of_eighty_unchanged_cases_is_silent_with_control_and_not_without():
    suspect, p = suites()
    assert suspect.any(axis=1).mean() > 0.3
    assert kept(p).any(axis=1).mean() <= 0.05


def test_controlling_the_suspects_alone_would_undo_the_control():
    suspect, p = suites(suites=300)
    chosen = [row[mask] for row, mask in zip(p, suspect, strict=True)]
    stays = [len(control_false_discoveries({str(i): x for i, x in enumerate(row)})) > 0 for row in chosen]
    assert np.mean(stays) > 0.3


def test_spikes_need_confirmation_as_well_as_control():
    """A spiked run has an honestly tiny p: control keeps it, and only fresh processes tell it from a change."""
    rng = np.random.default_rng(7)
    history, new = TAU * noise("spiked", rng, (80 * 200, 10)), TAU * noise("spiked", rng, (80 * 200, 4))
    suspect, p = cut(history, new)
    stays = kept(p[:, 0].reshape(200, 80))
    recurs = (suspect[:, 1:].sum(axis=1) >= 2).reshape(200, 80)
    assert stays.any(axis=1).mean() > 0.4
    assert (stays & recurs).any(axis=1).mean() <= 0.03


def test_true_drops_stay_and_false_ones_are_few_among_them():
    _, p = suites(drop=0.15, worse=8, suites=300)
    stays = kept(p)
    assert stays[:, :8].mean() > 0.8
    false = stays[:, 8:].sum(axis=1) / np.maximum(stays.sum(axis=1), 1)
    assert false.mean() <= 0.05


def test_control_follows_benjamini_and_yekutieli():
    p = {"a": 0.04, "b": 0.001, "c": 0.015, "d": 0.5}
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert 0.015 * 4 / 2 * harmonic > 0.05 >= 0.001 * 4 * harmonic
    assert control_false_discoveries(p) == ("b",)
    assert control_false_discoveries(p, 0.07) == ("b", "c")  # in the order given
    assert control_false_discoveries({}) == ()


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge_change([0.1] * 4 + [math.nan], 0.1, 0.01), "history must be"),
        (lambda: judge_change([0.1] * 5, math.inf, 0.01), "new value must be"),
        (lambda: judge_change([0.1] * 5, 0.1, -0.01), "tau must be"),
        (lambda: judge_change([0.1] * 5, 0.1, math.nan), "tau must be"),
        (lambda: judge_change([0.1] * 5, 0.1, 0.01, floor=-1), "floor must be"),
        (lambda: judge_change([0.1] * 5, 0.1, 0.01, alpha=0.5), "alpha must be"),
        (lambda: judge_against_anchor(math.nan, 0.1, 0.1, 0.1), "an anchor needs"),
        (lambda: judge_against_anchor(0.1, -0.1, 0.1, 0.1), "an anchor needs"),
        (lambda: confirmed(UNCHANGED, []), "only what is suspect or doubtful"),
        (lambda: confirmed(SUSPECT, [UNCHANGED] * 4), "at most 3 reruns"),
        (lambda: confirmed(SUSPECT, [judge_change([], 0.1, 0.01)]), "too short a history"),
        (lambda: control_false_discoveries({"a": 1.5}), "p-values must"),
        (lambda: control_false_discoveries({"a": math.nan}), "p-values must"),
        (lambda: control_false_discoveries({"a": 0.5}, 0.0), "level must be"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
