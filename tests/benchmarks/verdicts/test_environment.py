"""Whether the dense model's own time left its limits: false alarms, outliers, detection."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts import environment_changed

RUNS, ALPHA = 20_000, 0.01
CHANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def histories(count, wild, rng, sd=0.05):
    """Log seconds: normal, the first `wild` of each history two to five times as slow."""
    logs = sd * rng.standard_normal((RUNS, count))
    logs[:, :wild] += rng.uniform(math.log(2), math.log(5), (RUNS, wild))
    return logs


def alarms(count, wild=0, shift=0.0, sd=0.05):
    rng = np.random.default_rng(1)
    logs, new = histories(count, wild, rng, sd), shift + sd * rng.standard_normal(RUNS)
    middle = np.median(logs, axis=1)
    # The limits scale with the median absolute deviation: one call gives the factor between them.
    unit = np.linspace(-1, 1, count)
    reach = math.log(environment_changed(np.exp(unit), 1.0, alpha=ALPHA).high) / np.median(np.abs(unit))
    return np.mean(np.abs(new - middle) > reach * np.median(np.abs(logs - middle[:, None]), axis=1))


@pytest.mark.parametrize("count", [5, 6, 7, 8, 10, 15, 20])
def test_an_unchanged_machine_rarely_raises_an_alarm(count):
    assert 0.002 < alarms(count) <= ALPHA + CHANCE


@pytest.mark.parametrize(("count", "wild"), [(10, 1), (20, 2)])
def test_a_few_wild_runs_neither_hide_a_change_nor_raise_an_alarm(count, wild):
    assert alarms(count, wild) <= ALPHA + CHANCE
    assert alarms(count, wild, shift=math.log(2)) > 0.9
    assert alarms(count, wild, shift=-math.log(2)) > 0.9


def test_the_check_above_would_see_mean_and_deviation_hide_it():
    rng = np.random.default_rng(1)
    logs, new = histories(20, 2, rng), math.log(1.5) + 0.05 * rng.standard_normal(RUNS)
    reach = stats.t.isf(ALPHA / 2, 19) * logs.std(axis=1, ddof=1) * math.sqrt(1 + 1 / 20)
    assert np.mean(np.abs(new - logs.mean(axis=1)) > reach) < 0.1


def test_the_function_holds_the_new_time_against_its_limits():
    history = list(np.exp(0.05 * np.random.default_rng(3).standard_normal(12)))
    limits = environment_changed(history, 1.0)
    middle = float(np.median(history[:12]))
    assert middle == pytest.approx(1.0, abs=0.05) and limits.low == pytest.approx(1 / limits.high)
    typical = math.exp(float(np.median(np.log(history))))
    for seconds, changed in ((1.001, True), (0.999, False)):
        assert environment_changed(history, typical * limits.high * seconds).changed is changed
        assert environment_changed(history, typical * limits.low / seconds).changed is changed
    assert environment_changed([9.0] * 50 + history * 2, 1.0).runs == 20


def test_a_change_below_the_floor_is_none():
    history = [1.0] * 9 + [1.0001]
    assert environment_changed(history, 1.02).changed is False
    assert environment_changed(history, 1.04).changed is True
    assert environment_changed(history, 1.02, floor=0.01).changed is True


def test_the_reason_is_one_line():
    judged = environment_changed([0.0100, 0.0102, 0.0098, 0.0101, 0.0099, 0.0100, 0.0103, 0.0097], 0.02)
    assert judged.changed and "\n" not in judged.reason
    assert judged.reason.startswith("environment changed: dense took 0.02 s, 2 of the median of 8 runs, limits [0.")
    short = environment_changed([0.01] * 4, 0.5)
    assert short.changed is None and short.reason.endswith("4 runs of the dense model before this one, needs 5")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: environment_changed([1.0] * 5, 0.0), "must be positive"),
        (lambda: environment_changed([1.0, -1.0], 1.0), "must be positive"),
        (lambda: environment_changed([1.0] * 5, math.nan), "dense seconds must be"),
        (lambda: environment_changed([1.0] * 5, 1.0, alpha=0.7), "alpha must be"),
        (lambda: environment_changed([1.0] * 5, 1.0, floor=-0.1), "floor must be"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
