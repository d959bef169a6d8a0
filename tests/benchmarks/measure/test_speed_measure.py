"""Who goes first is a fair coin that is written down, and a budget is a budget."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from benchmarks.measure import speed
from benchmarks.measure.lane import fastest
from benchmarks.measure.outside import Account
from benchmarks.measure.speed import Budget, Pairs, measure
from benchmarks.measure.worker import WorkerError
from benchmarks.verdicts import FEWEST, SpeedJudgement, SpeedTest, Verdict, estimate
from compressors.interface import PressbenchError


@dataclass
class Clock:
    """A time that only lanes move."""

    now: float = 0.0


@dataclass
class FakeLane:
    """Slots drawn around `seconds`. `log` receives its letter at every slot."""

    name: str
    seconds: float
    clock: Clock
    log: list[str]
    noise: float = 0.05
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    drawn: list[float] = field(default_factory=list)

    account: Account = field(default_factory=lambda: Account(1))

    def slot(self, number: int = 0, seed: int = 0) -> float:
        took = self.seconds * math.exp(self.noise * self.rng.standard_normal())
        self.clock.now += took
        self.log.append(self.name[0])
        self.drawn.append(took)
        return took


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock.now)
    return clock


def lanes(clock: Clock, dense: float, compressed: float, best: float | None = None) -> tuple[list[FakeLane], list[str]]:
    log: list[str] = []
    times = {"dense": dense, "compressed": compressed, "best": best}
    return [
        FakeLane(n, t, clock, log, rng=np.random.default_rng(i)) for i, (n, t) in enumerate(times.items()) if t
    ], log


def all_of(pairs: int) -> Budget:
    """That many, whatever is decided."""
    return Budget(pairs=pairs, at_least=pairs, seconds=1e9, linger=1e9)


def run(
    clock: Clock, found: list[FakeLane], *, target: float | None = None, budget: Budget | None = None, seed: int = 0
) -> tuple[Pairs, SpeedJudgement]:
    budget = budget or Budget()
    test = SpeedTest(target, budget=budget.pairs)
    return measure(found[0], found[1], found[2] if len(found) > 2 else None, test, budget, seed=seed)  # type: ignore[arg-type]


# -- order -----------------------------------------------------------------------------------------


def test_the_order_written_down_is_the_order_they_ran_in(clock: Clock) -> None:
    found, log = lanes(clock, 0.01, 0.01, 0.01)
    pairs, _ = run(clock, found, budget=all_of(50))
    assert log == list("".join(pairs.orders))
    assert len(pairs.orders) == 50
    assert (pairs.dense, pairs.compressed, pairs.control) == (found[0].drawn, found[1].drawn, found[2].drawn)


@pytest.mark.parametrize("best", [None, 0.01], ids=["two", "three"])
def test_every_order_is_as_likely_whatever_came_before(clock: Clock, best: float | None) -> None:
    # The sign test is exact only for a fair coin: always dense first, or strictly in turns, is not one.
    found, _ = lanes(clock, 0.01, 0.01, best)
    rounds = 3000
    pairs, _ = run(clock, found, budget=all_of(rounds))
    assert len(pairs.orders) == rounds
    orders = ["".join(p) for p in itertools.permutations("dcb" if best else "dc")]

    def fair(seen: Counter[tuple[str, ...]], kinds: int) -> bool:
        share = 1 / kinds
        limit = 5 * math.sqrt(sum(seen.values()) * share * (1 - share))
        return len(seen) == kinds and all(abs(n - sum(seen.values()) * share) < limit for n in seen.values())

    def looks_fair(taken: list[str]) -> bool:
        singles = Counter((a,) for a in taken)
        return fair(singles, len(orders)) and fair(Counter(itertools.pairwise(taken)), len(orders) ** 2)

    assert looks_fair(pairs.orders)
    assert not looks_fair([orders[0]] * rounds)
    assert not looks_fair([orders[i % len(orders)] for i in range(rounds)])


def test_a_seed_fixes_the_order_and_another_changes_it(clock: Clock) -> None:
    orders = [run(clock, lanes(clock, 0.01, 0.01)[0], budget=Budget(pairs=30), seed=s)[0].orders for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


# -- budget ----------------------------------------------------------------------------------------


def test_a_clear_winner_stops_early_but_not_before_the_interval_is_worth_printing(clock: Clock) -> None:
    found, _ = lanes(clock, 0.03, 0.01)
    pairs, judged = run(clock, found, target=2.0, budget=Budget(at_least=20))
    assert judged.verdict == Verdict.PASS
    assert judged.pairs == len(pairs.orders) == 20
    assert judged.decided_at is not None and judged.decided_at < 20
    assert pairs.seconds == pytest.approx(sum(pairs.dense) + sum(pairs.compressed))


def test_without_a_target_the_interval_is_all_that_is_wanted(clock: Clock) -> None:
    pairs, judged = run(clock, lanes(clock, 0.01, 0.01)[0], budget=Budget(at_least=20))
    assert len(pairs.orders) == 20
    assert judged.verdict is None
    assert math.isfinite(judged.high)


def test_a_slow_case_takes_fewer_pairs_and_never_fewer_than_the_fewest(clock: Clock) -> None:
    found, _ = lanes(clock, 9.0, 3.0)
    _, judged = run(clock, found, target=2.0, budget=Budget(seconds=1e9, linger=1.0))
    assert judged.pairs == max(FEWEST, judged.decided_at or 0)
    found, _ = lanes(clock, 900.0, 300.0)
    _, judged = run(clock, found, target=2.0, budget=Budget(seconds=1.0, linger=1.0))
    assert judged.pairs == FEWEST
    assert judged.low > 0 and math.isfinite(judged.high), "an interval from too few pairs"


def test_the_fewest_pairs_are_those_that_make_an_interval_finite() -> None:
    budget = Budget()
    assert budget.fewest >= FEWEST
    assert budget.fewest <= budget.at_least <= budget.pairs


def test_no_more_pairs_than_allowed(clock: Clock) -> None:
    found, _ = lanes(clock, 0.01, 0.01)
    pairs, judged = run(clock, found, target=1.0, budget=Budget(pairs=40, seconds=1e9))
    assert len(pairs.orders) == 40
    assert judged.verdict == Verdict.INCONCLUSIVE


def test_no_more_seconds_than_allowed(clock: Clock) -> None:
    found, _ = lanes(clock, 0.5, 0.5)
    pairs, judged = run(clock, found, target=1.0, budget=Budget(pairs=2000, seconds=60.0))
    assert 60 <= pairs.seconds < 60 + 2
    assert judged.verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("seconds", "wanted"), [(1.2, 40), (0.5, 60), (2.5, 24)])
def test_slow_pairs_go_on_to_a_fair_number_within_a_patience(clock: Clock, seconds: float, wanted: int) -> None:
    """Of 1.2 s a lane a minute are 25 pairs, and 40 take 96 s; of 2.5 s two minutes are 24."""
    found, _ = lanes(clock, seconds, seconds)
    budget = Budget(pairs=2000, seconds=60.0, fair=40, patience=120.0)
    pairs, judged = run(clock, found, target=1.0, budget=budget)
    assert judged.verdict == Verdict.INCONCLUSIVE
    assert len(pairs.orders) == pytest.approx(wanted, abs=2)
    _, clear = run(clock, lanes(clock, 3 * seconds, seconds)[0], target=2.0, budget=budget)
    assert clear.verdict == Verdict.PASS and clear.pairs <= 20


def test_progress_ends_where_it_said_it_would(clock: Clock) -> None:
    found, _ = lanes(clock, 0.03, 0.01)
    seen: list[tuple[str, int, int]] = []
    test = SpeedTest(3.0, budget=30)  # as fast as it is: not to be decided
    measure(found[0], found[1], None, test, Budget(pairs=30), seed=0, progress=lambda *told: seen.append(told))  # type: ignore[arg-type]
    assert seen[-1] == ("timing", 20, 20)
    assert [done for _, done, _ in seen] == [min(n, 20) for n in range(1, 31)]


# -- numbers ---------------------------------------------------------------------------------------


def test_ratios_are_dense_and_control_over_compressed(clock: Clock) -> None:
    found, _ = lanes(clock, 0.04, 0.01, 0.02)
    for lane in found:
        lane.noise = 0.0
    pairs, judged = run(clock, found, budget=Budget(pairs=20))
    assert judged.value == pytest.approx(4.0)
    assert pairs.dense == pytest.approx([0.04] * 20) and pairs.compressed == pytest.approx([0.01] * 20)
    assert estimate(pairs.control, pairs.compressed, 0.02) == pytest.approx((2.0, 2.0, 2.0))


def test_what_a_case_is_held_against_is_timed_in_the_same_pairs(clock: Clock) -> None:
    found, log = lanes(clock, 0.04, 0.01, 0.02)
    other = FakeLane("against", 0.03, clock, log)
    for lane in (*found, other):
        lane.noise = 0.0
    test = SpeedTest(None, budget=20)
    pairs, _ = measure(found[0], found[1], found[2], test, Budget(pairs=20), seed=0, against=other)  # type: ignore[arg-type]
    assert pairs.against == pytest.approx([0.03] * 20)
    assert estimate(pairs.against, pairs.compressed, 0.02) == pytest.approx((3.0, 3.0, 3.0))
    assert "".join(pairs.orders) == "".join(log) and {"".join(sorted(order)) for order in pairs.orders} == {"abcd"}


def test_without_a_control_there_is_nothing_to_compare_with(clock: Clock) -> None:
    pairs, _ = run(clock, lanes(clock, 0.04, 0.01)[0], budget=Budget(pairs=20))
    assert pairs.control == []


def test_drift_of_the_machine_is_no_speed_up(clock: Clock) -> None:
    found, _ = lanes(clock, 0.01, 0.01)

    def drifting(lane: FakeLane) -> None:
        steady = lane.slot
        lane.slot = lambda *_: steady() * (1 + clock.now)  # type: ignore[method-assign]  (four times slower by the end)

    for lane in found:
        drifting(lane)
    _, judged = run(clock, found, target=1.1, budget=Budget(pairs=200, seconds=1e9))
    assert judged.verdict == Verdict.FAIL
    assert judged.low < 1.0 < judged.high


def test_the_estimate_of_an_even_number_lies_between(clock: Clock) -> None:
    value, low, high = estimate([1.0, 4.0, 4.0, 1.0] * 5, [1.0] * 20, 0.02)
    assert low == 1.0 <= value <= high == 4.0


# -- the best control ------------------------------------------------------------------------------


def test_the_fastest_is_by_median_whatever_the_outliers(clock: Clock) -> None:
    found, log = lanes(clock, 0.03, 0.02, 0.01)
    steady = found[2].slot

    def hiccup(*_: int) -> float:
        return steady() * (100 if len(found[2].drawn) == 3 else 1)

    found[2].slot = hiccup  # type: ignore[method-assign]
    assert fastest(found) is found[2]  # type: ignore[arg-type]
    assert Counter(log) == {"d": 7, "c": 7, "b": 7}
    assert len({"".join(log[i : i + 3]) for i in range(0, 21, 3)}) > 2, "they must take turns by lot"


def test_what_is_slower_every_time_is_not_asked_on_and_what_is_close_is(clock: Clock) -> None:
    found, log = lanes(clock, 0.03, 0.02, 0.01)
    assert fastest(found) is found[2]  # type: ignore[arg-type]
    assert Counter(log) == {"d": 3, "c": 3, "b": 3}
    found, log = lanes(clock, 0.03, 0.01, 0.01)
    found[1].noise, swings = 0.0, itertools.cycle((0.009, 0.0105))
    found[2].slot = lambda *_: log.append("b") or next(swings)  # type: ignore[method-assign, func-returns-value]
    assert fastest(found) is found[2]  # type: ignore[arg-type]
    assert Counter(log) == {"d": 3, "c": 7, "b": 7}


@pytest.mark.parametrize("error", [WorkerError("died", "gone"), PressbenchError("cannot")], ids=["died", "told"])
def test_a_control_that_fails_spoils_nobody_elses_case(clock: Clock, error: Exception) -> None:
    found, _ = lanes(clock, 0.03, 0.02, 0.01)
    steady = found[2].slot

    def fail(*_: int) -> float:
        if len(found[2].drawn) == 2:
            raise error
        return steady()

    found[2].slot = fail  # type: ignore[method-assign]
    assert fastest(found) is found[1]  # type: ignore[arg-type]
    assert fastest([found[2]]) is None  # type: ignore[list-item]
    assert fastest([]) is None
