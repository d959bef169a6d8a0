"""τ, criteria and standing, on planted rounds with fixed seeds; nothing here is timed."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks.measure.watch import Window
from benchmarks.qualification.criteria import criteria, qualified
from benchmarks.qualification.delay import DELAY, Delay, found_in
from benchmarks.qualification.effort import FULL, QUICK
from benchmarks.qualification.noise import SENSITIVITY, Round, control_ratios
from benchmarks.qualification.spread import deviation, spread
from benchmarks.qualification.standing import standing
from compressors.interface import Hardware
from results.history.qualification import History, Qualification

CPU = Hardware("cpu", "cpu-vnni", threads=2)
QUIET = Window(60.0, 0.0, 0.01, None)
FOUND = Delay(True, 20, 14, 0.952, 0.94, 0.96)


def planted(
    seed: int, *, shift: float = 0.0, bf16: float = 0.5, bandwidth: float = 20.0, noise: float = 0.02, pairs: int = 25
) -> Round:
    rng = np.random.default_rng(seed)
    logs = shift, 0.0, -bf16
    slots = [tuple(0.02 * np.exp(log + noise / math.sqrt(2) * rng.standard_normal(pairs))) for log in logs]
    return Round(slots[0], slots[1], slots[2], {"bandwidth_gb_s": bandwidth, "matmul_gflop_s": 150.0})


# -- the delay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_a_delay_of_five_percent_is_found_and_none_is_not(noise: float) -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        plain, other = np.exp(noise / math.sqrt(2) * rng.standard_normal((2, 200)))
        assert found_in(plain, other * (1 + DELAY)).found
        assert not found_in(plain, other).found


def test_how_many_pairs_it_took_is_told() -> None:
    found = found_in([1.0] * 30, [1.05] * 30)
    assert (found.found, found.found_at, found.pairs) == (True, 11, 30)
    assert found.ratio == pytest.approx(1 / 1.05)
    assert found_in([1.0] * 30, [1.0] * 30).found_at is None


# -- tau -------------------------------------------------------------------------------------------


def test_placement_is_the_deviation_between_processes() -> None:
    quiet = spread([planted(n) for n in range(8)])
    shifted = spread([planted(n, shift=0.05 * (-1) ** n) for n in range(8)])
    assert quiet.placement < 0.01
    assert shifted.placement == pytest.approx(0.05 * math.sqrt(8 / 7), rel=0.2)
    assert shifted.tau == shifted.placement > shifted.contention


def test_contention_shows_in_controls_where_dense_against_dense_sees_nothing() -> None:
    found = spread([planted(n, bf16=0.5 + 0.1 * (n % 2)) for n in range(8)])
    assert found.placement < 0.01
    assert found.tau == found.contention == found.controls["fp32/bf16"] == pytest.approx(0.0535, rel=0.1)


def test_history_counts_for_contention() -> None:
    today = [planted(n) for n in range(8)]
    yesterday = [planted(n, bf16=0.7) for n in range(8, 16)]
    assert spread(today).contention < 0.01
    assert spread(today, yesterday).contention == pytest.approx(0.1, rel=0.1)


def test_a_change_of_bandwidth_counts_by_what_arrives_in_models() -> None:
    rounds = [planted(n, bandwidth=20.0 * (1.2 if n % 2 else 1)) for n in range(8)]
    alternating = SENSITIVITY * deviation([math.log(1.2) * (n % 2) for n in range(8)])
    found = spread(rounds)
    assert found.controls["matrix product/bandwidth"] == pytest.approx(alternating)
    assert found.contention == found.controls["fp32/bf16"] < 0.01, "the models themselves were not moved"
    blind = spread([dataclasses.replace(r, bf16=()) for r in rounds])
    assert blind.contention == pytest.approx(alternating), "without bf16 the probes are all there is"


def test_rounds_out_of_range_do_not_widen_tau_since_cases_there_get_no_verdict() -> None:
    rounds = [planted(n) for n in range(8)]
    contended = [planted(8, bf16=0.9, bandwidth=10.0)]
    found = spread(rounds, contended)
    assert (found.rounds, found.left_out) == (8, 1)
    assert found.contention < 0.01


def test_hardware_without_bf16_has_the_probes_alone() -> None:
    rounds = [dataclasses.replace(planted(n), bf16=()) for n in range(3)]
    assert set(control_ratios(rounds)) == {"matrix product/bandwidth"}


def test_a_round_survives_being_stored_and_a_foreign_one_is_left_out() -> None:
    found = planted(1)
    assert Round.from_json(found.to_json()) == found
    assert Round.from_json({"dense": [1], "bf16": None}) is None
    assert Round.from_json(found.to_json() | {"second": [0.0] * 25}) is None


# -- criteria --------------------------------------------------------------------------------------


def outcomes(rounds: list[Round], window: Window = QUIET, delay: Delay = FOUND) -> dict[str, str]:
    return {c.name: c.outcome for c in criteria(CPU, rounds, spread(rounds), delay, window)}


def missed(*arguments: Any, **named: Any) -> set[str]:
    return {name for name, outcome in outcomes(*arguments, **named).items() if outcome == "missed"}


GOOD = [planted(n) for n in range(8)]


def test_a_quiet_machine_is_qualified_though_not_all_can_be_read() -> None:
    found = criteria(CPU, GOOD, spread(GOOD), FOUND, Window(60.0, None, None, None))
    assert qualified(found)
    assert {c.name for c in found if c.outcome == "unknown"} == {"steal time", "load of other processes", "throttling"}


def test_each_criterion_is_missed_by_what_it_is_about() -> None:
    assert missed(GOOD) == set()
    assert missed(GOOD, Window(60.0, 0.03, 0.0, 0)) == {"steal time"}
    assert missed(GOOD, Window(60.0, 0.0, 0.2, 0)) == {"load of other processes"}
    assert missed(GOOD, Window(60.0, 0.0, 0.0, 1)) == {"throttling"}
    assert missed(GOOD, delay=found_in([1.0] * 30, [1.0] * 30)) == {"injected delay of 5% found"}
    assert "tau of contention" in missed([planted(n, bf16=0.1 * n) for n in range(8)])
    assert "tau of placement" in missed([planted(n, shift=0.1 * (n % 2)) for n in range(8)])
    assert "half-width of that interval" in missed([planted(n, noise=0.3) for n in range(8)])
    assert missed(GOOD[:4]) == {"fresh pairs of processes"}
    slow = missed([planted(n, shift=-0.06) for n in range(8)])
    assert slow == {"dense against dense contains 1", "delay found where there is none"}


def test_too_few_pairs_decide_nothing_and_are_not_qualified() -> None:
    assert "half-width of that interval" in missed([planted(1, pairs=1)] * 5)


# -- standing --------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def stored(hours: float, **changes: Any) -> Qualification:
    values: dict[str, Any] = {
        "id": f"{hours}h",
        "ended": (NOW - timedelta(hours=hours)).isoformat(),
        "fingerprint": "ab",
        "hardware": "cpu",
        "hardware_class": "cpu-vnni",
        "qualified": True,
        "tau": 0.01,
        "tau_placement": 0.01,
        "tau_contention": 0.0,
        "rounds": tuple(planted(n, bandwidth=20 + n).to_json() for n in range(3)),
    }
    return Qualification(**values | changes)


def test_a_run_takes_the_latest_of_the_day() -> None:
    found = standing(History(None, (stored(30), stored(3, tau=0.07, qualified=False), stored(5))), now=NOW)
    assert (found.tau, found.qualified, found.qualification) == (0.07, False, "3h")
    assert found.source == "qualification 3h"
    assert found.reference["bandwidth_gb_s"] == 21.0


def test_without_one_or_with_an_old_one_there_is_none() -> None:
    for history in (History(), History(None, (stored(25),))):
        found = standing(history, now=NOW)
        assert (found.tau, found.qualified, found.qualification, dict(found.reference)) == (0.0, False, None, {})
        assert found.source == "none: the machine is not qualified"


def test_one_taken_under_load_stands_for_its_own_run_only() -> None:
    busy = stored(1, tau=0.8, noted={"window": {"steal": 0.0, "foreign": 0.4}})
    history = History(None, (stored(3), busy))
    assert standing(history, now=NOW).qualification == "3h"
    found = standing(history, own="1h", now=NOW)
    assert (found.tau, found.qualification) == (0.8, "1h")
    assert standing(History(None, (busy,)), now=NOW).qualification is None


def test_a_given_tau_takes_its_place_and_is_named() -> None:
    found = standing(History(None, (stored(1),)), 0.2, now=NOW)
    assert (found.tau, found.source, found.qualified, found.qualification) == (0.2, "option --tau", True, "1h")


def test_the_quick_one_has_as_many_processes_as_it_must_and_says_that_it_is_quick() -> None:
    assert QUICK.rounds >= 5 and FULL.rounds >= 5
    assert "quick qualification" in standing(History(None, (stored(1, quick=True),)), now=NOW).source
