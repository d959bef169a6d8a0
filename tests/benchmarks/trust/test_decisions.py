"""What counts as an alarm, and how often planted noise raises one."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from benchmarks.trust.decisions import (
    ALPHA,
    NIGHT_TO_NIGHT,
    SAME_MINUTE,
    Comparison,
    Rate,
    decide,
    recorded,
    simulated,
    stored_rounds,
    tally,
)
from benchmarks.trust.nights import simulate
from benchmarks.trust.rivals import CompareFail
from benchmarks.trust.samples import PAIRS, Session
from benchmarks.verdicts import Verdict, proportion_interval

MEAN = CompareFail("mean:5%")
ROUNDS = 12
Planted = Callable[..., Session]


def test_the_alarm_is_fail() -> None:
    same = [1.0] * PAIRS
    assert decide(same, same, PAIRS) == (Verdict.PASS, 11)
    assert decide(same, [1.1] * PAIRS, PAIRS) == (Verdict.FAIL, 11)
    assert decide(same, [1.04, 1.06] * (PAIRS // 2), PAIRS) == (Verdict.INCONCLUSIVE, PAIRS)
    assert decide(same, [1.04, 1.06] * (PAIRS // 2), 30) == (Verdict.INCONCLUSIVE, 30)


def test_planted_noise_keeps_our_false_alarms_within_alpha(planted: Planted) -> None:
    drawn = simulate(planted(noise=0.08, rounds=20).of(0), nights=1000, pairs=PAIRS, seed=0)
    found = tally(simulated(drawn), [])
    row = found.ours[0]
    assert row.budget == PAIRS and row.rate(0).decisions == 1000
    assert row.rate(0).share <= ALPHA
    assert row.rate(2).share <= ALPHA
    assert row.rate(20).share > 0.9
    assert row.rate(10).share > row.rate(5).share


def test_a_slow_down_at_the_margin_alarms_within_alpha(planted: Planted) -> None:
    # Fresh noise each time: blocks of one recording would repeat its own sampling error.
    rate = Rate()
    for one in recorded(planted(noise=0.03, rounds=400)):
        if one.percent == 5:
            rate.add(decide(one.old, one.new, PAIRS)[0] == Verdict.FAIL)
    assert rate.interval[0] <= ALPHA


def test_processes_that_differ_alarm_from_night_to_night(session: Session) -> None:
    found = tally(recorded(session), [MEAN])
    shares = {row.setting: row.rates[0].share for row in found.rivals}
    assert shares[NIGHT_TO_NIGHT] > 0.05, "5 % between processes"
    assert shares[SAME_MINUTE] > 0.05, "both are processes, too"


def test_a_stored_result_is_a_quarter_of_the_session_older_and_used_once(session: Session) -> None:
    gap = stored_rounds(session)
    assert gap == ROUNDS // 4
    for percent in (0, 10):
        mine = session.of(percent)
        per_round = len(mine) // ROUNDS
        compared = [c for c in recorded(session) if c.percent == percent]
        assert [c.stored for c in compared[: gap * per_round]] == [None] * gap * per_round
        assert [c.stored for c in compared[gap * per_round :]] == [r.old for r in mine[: -gap * per_round]]
    row = tally(recorded(session), [MEAN]).rivals[1]
    assert row.setting == NIGHT_TO_NIGHT and row.rates[10].decisions == ROUNDS - gap


def test_time_is_of_what_was_looked_at() -> None:
    one = Comparison(0, [1.0] * 200, [2.0] * 200, [1.0] * 200, pair_seconds=3.5)
    found = tally([one], [MEAN], (PAIRS,))
    assert found.ours[0].seconds[0] == [11 * 3.5]
    assert [(row.setting, row.seconds[0]) for row in found.rivals] == [
        (SAME_MINUTE, [PAIRS * 3.0]),
        (NIGHT_TO_NIGHT, [PAIRS * 2.0]),
    ]


def test_more_pairs_decide_more(planted: Planted) -> None:
    drawn = simulate(planted(noise=0.1, rounds=10).of(0), nights=100, pairs=200, seed=0)
    short, long = tally(simulated(drawn), [], (PAIRS, 200)).ours
    assert long.verdicts[10][Verdict.INCONCLUSIVE] < short.verdicts[10][Verdict.INCONCLUSIVE]
    assert statistics.median(long.pairs[0]) >= statistics.median(short.pairs[0])


def test_a_slow_down_is_exact_in_a_simulated_night(planted: Planted) -> None:
    (night,) = simulate(planted().of(0), nights=1, pairs=PAIRS, seed=0)
    for one in simulated([night]):
        assert [n / u for n, u in zip(one.new, night.new, strict=True)] == pytest.approx(
            [1 + one.percent / 100] * PAIRS
        )
        assert list(one.old) == list(night.old)


def test_intervals_are_exact_95_per_cent() -> None:
    assert Rate(1, 60).interval == proportion_interval(1, 60, 0.05)
