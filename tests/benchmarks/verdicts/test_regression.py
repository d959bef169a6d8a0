"""A case against its history and its anchor, by simulation of whole histories and of what each guard is there for.

Each guard is also shown broken: without it the same check sees the fault.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from simulated_runs import ALPHA, RUNS, TAU, cut, noise

from benchmarks.verdicts import Change, detectable, judge_against_anchor, judge_change, runs_to_detect

CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 1 % + CHANCE is 1.2 %: 2 % is told apart


# --- one case against its history --------------------------------------------------------------


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


def test_half_of_the_speed_is_never_unchanged_where_runs_differ_by_a_tenth():
    """The fault: one accepted run and runs that differ by 14 % have limits of −52 %, and all within was unchanged."""
    judged = judge_against_anchor(0.0, 0.14, math.log(0.5), 0.14)
    assert judged.outcome is Change.DOUBTFUL and judged.low < -0.5
    assert judge_against_anchor(0.0, 0.14, math.log(2.0), 0.14).outcome is Change.UNCHANGED  # faster is no doubt
    assert judge_against_anchor(0.0, 0.005, math.log(0.98), 0.005).outcome is Change.UNCHANGED  # below the floor


# --- what can be detected ----------------------------------------------------------------------


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
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
