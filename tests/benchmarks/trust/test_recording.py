"""The slow-downs are exact, and no condition has a time of day of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.measure.lane import Lane
from benchmarks.trust import recording
from benchmarks.trust.decisions import PERCENTS
from benchmarks.trust.recording import ROUND, SlowDown, _Slots, record, schedule
from benchmarks.trust.samples import PAIRS, Session
from compressors.interface import Hardware


def test_the_extra_work_is_what_it_says() -> None:
    assert {s.percent for s in ROUND} == set(PERCENTS)
    assert all(100 * s.extra == s.percent * s.calls for s in ROUND)


def test_every_round_has_all_conditions_in_an_order_of_its_own() -> None:
    found = list(schedule(30, seed=1))
    rounds = [[s for number, s in found if number == r] for r in range(30)]
    assert all(Counter(r) == Counter(ROUND) for r in rounds)
    assert len({tuple(r) for r in rounds}) > 20
    assert found == list(schedule(30, seed=1)) != list(schedule(30, seed=2))


def test_old_and_new_share_their_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "physical_cpus", lambda: [0, 2, 4])
    assert recording.cpus(Hardware("cpu", "cpu-generic", threads=1)) == [4]
    assert recording.cpus(Hardware("cpu", "cpu-generic", threads=2)) == [2, 4]


def test_a_slot_counts_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lane, "slot", lambda self, number, seed: 0.5)
    lane = object.__new__(_Slots)
    lane.calls = 22
    assert lane.slot() == 11.0


def test_it_stops_at_whole_rounds_when_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    taken = {"old": [0.1] * PAIRS, "new": [0.1] * PAIRS, "orders": ["dc"] * PAIRS, "seconds": 8.0}
    seeds = []

    def record_pair(slow_down: SlowDown, *_: object, seed: int) -> dict[str, object]:
        seeds.append(seed)
        return taken

    monkeypatch.setattr(recording, "write_model", lambda *_: (tmp_path, tmp_path))
    monkeypatch.setattr(recording, "record_pair", record_pair)
    monkeypatch.setattr(recording.time, "perf_counter", lambda: next(clock))
    told: list[str] = []
    hardware = Hardware("cpu", "cpu-generic", threads=8)
    session = record(tmp_path, hardware, rounds=9, seed=0, seconds=100, tell=told.append)
    assert len(session.recordings) == 2 * len(ROUND)
    assert told[-1] == "stopping after 2 of 9 rounds: 100 s are over"
    assert len(set(seeds)) == len(seeds), "each has a coin of its own"
    assert session.threads == 1 and "pytest-benchmark" in session.versions
    assert Session.model_validate_json(session.model_dump_json()) == session
