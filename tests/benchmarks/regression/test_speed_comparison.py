"""A slow-down is found and confirmed; noise, a changed machine and what cannot be shown are not taken for one."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from compared_records import CASE, TAU, again, known, outcome, speed

from benchmarks.regression.comparison import Reference, compare, undecided
from benchmarks.regression.speed import detectable, in_words
from results.history.acceptance import grown
from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.history import History
from results.store.record import CaseRecord, Measure


def history(centre: float = 2.0, runs: int = 10, dense: float = 0.1) -> list[CaseRecord]:
    noise = np.random.default_rng(0).normal(0, TAU, (runs, 2))
    # Later than the anchor's run: what came before an accepted change is another history.
    return [speed(centre * math.exp(a), dense=dense * math.exp(b), run=f"s{n:02}") for n, (a, b) in enumerate(noise)]


def test_a_slower_case_that_stays_slower_is_a_regression() -> None:
    found = compare(speed(1.6), known(speed(2.0), history()), TAU, again(1.61, 1.62))
    assert outcome(found) == "regression"
    assert found is not None
    assert found.reruns == (1.61, 1.62)
    assert "2 of 2 fresh processes" in found.reason
    assert (found.before, found.now, found.against) == (2.0, 1.6, "r")


def test_one_bad_process_is_noise() -> None:
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU, again(2.0, 1.99))) == "noise"
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU, again(1.6, 2.0, 1.99))) == "noise"


def test_without_a_way_to_measure_again_it_is_a_suspect_only() -> None:
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU)) == "suspect"


@pytest.mark.parametrize(
    ("values", "more"),
    [((), True), ((1.6,), True), ((2.0,), True), ((1.6, 2.0), True), ((1.6, 1.6), False), ((2.0, 2.0), False)],
)
def test_a_suspect_is_measured_again_until_two_reruns_agree(values: tuple[float, ...], more: bool) -> None:
    reruns = again(*values)
    found = compare(speed(1.6), known(speed(2.0), history()), TAU, reruns)
    assert undecided(found, reruns) is more
    assert (outcome(found) == "suspect") is more


def test_reruns_that_stay_slower_are_not_called_noise() -> None:
    """As it was seen: 0.3 ms of sleep in a kernel, a quick qualification's τ and one accepted run."""
    accepted = speed(0.91, measures={"speedup": Measure(value=0.91, low=0.86, high=1.46)})
    slow = [
        speed(v, measures={"speedup": Measure(value=v, low=0.85 * v, high=1.19 * v)}) for v in (0.412, 0.477, 0.482)
    ]
    first = speed(0.42, measures={"speedup": Measure(value=0.42, low=0.36, high=0.50)})
    found = compare(first, known(accepted), 0.11, slow)
    assert found is not None
    assert found.outcome in ("regression", "inconclusive")
    assert "noise:" not in found.reason
    if found.outcome == "inconclusive":
        assert re.search(r"-47\.6 % in their median: .* a quieter machine would decide it", found.reason)
    assert found.detectable is not None and found.detectable > 0.5
    three = Reference(Baseline("ab", {}, {("speed", CASE): _several(0.91, 0.9, 0.93)}), History({}, ()))
    assert outcome(compare(first, three, 0.11, slow)) == "regression"


def _several(*values: float) -> Accepted:
    first, *more = (accepted_of(speed(value, run=f"a{number}")) for number, value in enumerate(values))
    for one in more:
        first = grown(first, one)
    return first


def test_several_accepted_runs_show_a_smaller_slow_down_than_one() -> None:
    one, five = (_several(*[2.0] * count) for count in (1, 5))
    found = [detectable(accepted, 0.02) for accepted in (one, five)]
    assert found[0][0] > 1.3 * found[1][0]
    assert 0 < found[0][1] <= 5 and found[1][1] == 0
    now = speed(2.0 * (1 - found[1][0] * 0.9))
    told = [
        compare(now, Reference(Baseline("ab", {}, {("speed", CASE): accepted}), History({}, ())), 0.02)
        for accepted in (one, five)
    ]
    assert [(one.outcome, one.doubtful) for one in told if one] == [("suspect", True), ("suspect", False)]


def test_runs_on_something_else_are_no_history() -> None:
    other = [replace(one, evidence={**one.evidence, "measured_on": {"model": "other"}}) for one in history()]
    mine = speed(1.6, evidence={"measured_on": {"model": "mine"}})
    assert outcome(compare(mine, known(None, other), TAU)) == "new"
    assert outcome(compare(mine, known(None, history()), TAU)) == "suspect"


def test_a_rerun_that_fails_has_no_vote() -> None:
    died = speed(1.6, verdict="error", reason="it died")
    contended = speed(1.6, evidence={"conditions": {"undisturbed": False}})
    for void in (died, contended):
        assert undecided(compare(speed(1.6), known(speed(2.0)), TAU, [void]), [void])
        assert outcome(compare(speed(1.6), known(speed(2.0)), TAU, [void, *again(1.6, 1.6)])) == "regression"
    reruns = [*again(1.6), died, died]
    found = compare(speed(1.6), known(speed(2.0)), TAU, reruns)
    assert outcome(found) == "suspect"
    assert not undecided(found, reruns)
    assert found is not None
    assert "2 of 3 reruns do not count: it died" in found.reason


@pytest.mark.parametrize("value", [1.98, 2.0, 2.03])
def test_the_usual_spread_is_unchanged(value: float) -> None:
    assert outcome(compare(speed(value), known(speed(2.0), history()), TAU)) == "unchanged"


def test_much_slower_than_a_short_history_can_show_is_measured_again_and_not_called_unchanged() -> None:
    """0.3 ms of sleep in a kernel, on a machine that was never quiet: the limits are wider than what happened."""
    reference = known(speed(0.88, width=0.17))
    first = speed(0.47, width=0.24)
    found = compare(first, reference, 0.0944)
    assert found is not None and (found.outcome, found.doubtful) == ("suspect", True)
    assert undecided(found, [])
    slow, quick = again(0.48, 0.46, 0.47), again(0.85, 0.47, 0.9)
    settled = compare(first, reference, 0.0944, slow)
    assert settled is not None and settled.outcome in ("regression", "inconclusive")
    once = compare(first, reference, 0.0944, quick)
    assert once is not None and once.outcome == "unchanged" and "in their median, as runs differ here" in once.reason
    assert not undecided(once, quick) and undecided(compare(first, reference, 0.0944, quick[:2]), quick[:2])


def test_slower_by_less_than_a_baseline_can_show_is_counted_in_words_of_its_own() -> None:
    reference = known(speed(0.88, width=0.17))
    found = compare(speed(0.67, width=0.24), reference, 0.0944)
    assert found is not None and outcome(found) == "unchanged" and found.detectable is not None
    assert in_words(found) == "slower but not shown"
    for value in (0.85, 0.88, 1.3):
        close = compare(speed(value, width=0.24), reference, 0.0944)
        assert close is not None and in_words(close) == close.outcome


def test_faster_is_improved_and_no_failure() -> None:
    assert outcome(compare(speed(2.6), known(speed(2.0), history()), TAU)) == "improved"


def test_a_slow_creep_is_seen_against_the_accepted_result_where_the_last_runs_hide_it() -> None:
    creep = [speed(2.0 * 0.99**n, run=f"s{n:02}") for n in range(20)]
    now = 2.0 * 0.99**20
    assert outcome(compare(speed(now), known(None, creep), TAU, again(now, now))) == "unchanged"
    assert outcome(compare(speed(now), known(speed(2.0), creep), TAU, again(now, now))) == "regression"


def test_where_the_dense_model_itself_became_slower_the_environment_changed() -> None:
    found = compare(speed(1.6, dense=0.2), known(speed(2.0), history()), TAU)
    assert outcome(found) == "environment"
    assert found is not None
    assert "dense took 0.2 s" in found.reason


def test_a_wide_interval_is_no_evidence() -> None:
    assert outcome(compare(speed(1.7, width=0.3), known(speed(2.0)), TAU)) == "unchanged"


def test_a_machine_never_qualified_is_not_taken_for_a_quiet_one() -> None:
    # Five runs that happen to agree: with a deviation of nought assumed, this would be a suspect.
    calm = [speed(2.0 * (1 + n / 1e4), run=f"s{n}") for n in range(4)]
    assert outcome(compare(speed(1.9), known(None, calm), 0.0)) == "new"
