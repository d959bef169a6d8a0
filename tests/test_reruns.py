"""Suspected regressions of speed in a run: measured again after all else, in turns, and reported once each.

What is measured is made up, so that it is known which case is slower, and when: pytest, records, reports and
`--resume` are real.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import NO_TARGETS, Done, Place
from planted_methods import METHOD

from results.history import acceptance, baseline_file
from results.store.record import CaseRecord
from results.store.store import list_runs, read_run

# Speed-ups of each case by turn, where 2 was accepted; the last case of the run is a suspect too.
PLANTED = """
import os
from benchmarks.run.session import Session
from results.store.record import Measure

SPEEDUPS = {"dense": [1.0, 2.0, 2.0, 2.0], "torch-bf16": [2.0], "planted-worse": [1.0, 1.0, 2.0, 1.0]}
record = Session._record
turns = {}

def planted(self, case, measure):
    def made():
        turn = turns[case.id] = turns.get(case.id, -1) + 1
        value = SPEEDUPS[case.compressor_id][turn] if os.environ["SLOWER"] == "yes" else 2.0
        with open(os.path.join(os.environ["PLANTED"], "order"), "a") as order:
            order.write(case.compressor_id + chr(10))
        measures = {"speedup": Measure(value=value, low=value * 0.99, high=value * 1.01)}
        evidence = {"compressed_seconds": [0.1] * 3, "dense_seconds": [0.2] * 3, "tau": 0.01}
        found = {"verdict": "measured", "reason": "made up", "artifact": None}
        return {**found, "measures": measures, "evidence": evidence}
    return record(self, case, made)

Session._record = planted
"""
WORSE = METHOD.format(cls="Worse", name="worse", body="pass")
NAMES = ("dense", "torch-bf16", "planted-worse")
CASES = [f"{name}-vit-digits-cpu" for name in NAMES]
CHOSEN = ["--model", "vit-digits", *(word for name in NAMES for word in ("--compressor", name)), "-m", "speed"]


@dataclass(frozen=True)
class Reruns:
    """Runs that are slower than what was accepted: a whole one, and one resumed from before its reruns."""

    place: Place
    done: dict[str, Done]

    def records(self, results: str) -> tuple[CaseRecord, ...]:
        (path,) = list_runs(self.place.folder / results)
        stored = read_run(path)
        assert stored.end is not None
        assert stored.end.executed == stored.end.expected == len(CASES)
        return stored.cases

    def order(self, results: str) -> list[str]:
        return (self.place.folder / results / "order").read_text().split()


@pytest.fixture(scope="module")
def reruns(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Reruns:
    folder = tmp_path_factory.mktemp("reruns")
    place = Place(folder, matrix_cache, {"planted_worse": WORSE}, NO_TARGETS)
    (place.site / "planted_speeds.py").write_text(PLANTED)

    def run(results: str, *options: str, slower: bool) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLOWER", "yes" if slower else "no")
            command = place.command(*CHOSEN, "-p", "planted_speeds", *options, results=results)
            done = place.batch({results: command})[results]
        assert (folder / "order").exists(), done.out + done.err
        (folder / "order").rename(folder / results / "order")
        return done

    run("first", slower=False)
    (path,) = list_runs(folder / "first")
    accepted, _, _ = acceptance.propose(read_run(path), None, [], when="2026-11-22", reason="")
    five = {key: replace(one, more=tuple((f"run-{n}", 2.0) for n in range(5))) for key, one in accepted.cases.items()}
    baseline_file.save(replace(accepted, cases=five), folder / "accepted")
    options = ["--baselines", str(folder / "accepted"), "--rerun-after", "0.5"]
    reports = [f"--junitxml={folder / 'junit.xml'}", f"--benchmark-json={folder / 'benchmark.json'}"]
    done = {"slower": run("slower", *options, *reports, slower=True)}
    (path,) = list_runs(folder / "slower")
    (folder / "cut").mkdir()
    # As a run leaves it that is killed before the reruns.
    lines = path.read_text().splitlines(keepends=True)[: 1 + len(CASES)]
    (folder / "cut" / path.name).write_text("".join(lines))
    done["cut"] = run("cut", *options, "--resume", slower=False)
    baseline_file.save(accepted, folder / "one")  # which can rule nothing out
    alone = place.command("--model", "vit-digits", "--compressor", "dense", "-m", "speed", "-p", "planted_speeds",
                          "--baselines", str(folder / "one"), "--rerun-after", "0")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOWER", "yes")
        for name, option in (("told", []), ("failed", ["--fail-unresolved", "--benchmark-table"])):
            done[name] = place.batch({name: [*alone, "--results", str(folder / name), *option]})[name]
    return Reruns(place, done)


def outcomes(records: tuple[CaseRecord, ...]) -> list[tuple[str, str, tuple[float, ...]]]:
    return [(r.compressor, r.comparison["outcome"], tuple(r.comparison["reruns"])) for r in records]


def test_suspects_are_measured_again_after_all_others_and_in_turns(reruns: Reruns) -> None:
    again = ["dense", "planted-worse", "dense", "planted-worse", "planted-worse"]
    assert reruns.order("slower") == [*NAMES, *again]


def test_a_suspect_is_stored_at_once_and_when_it_is_decided(reruns: Reruns) -> None:
    assert outcomes(reruns.records("slower")) == [
        ("dense", "suspect", ()),
        ("torch-bf16", "unchanged", ()),
        ("planted-worse", "suspect", ()),
        ("dense", "noise", (2.0, 2.0)),
        ("planted-worse", "regression", (1.0, 2.0, 1.0)),
    ]


def test_what_is_not_settled_is_no_pass_and_what_is_has_its_targets_verdict(reruns: Reruns) -> None:
    for name in ("slower", "cut"):
        assert [r.verdict for r in reruns.records(name) if r.compressor == "dense"] == ["inconclusive", "measured"]
    assert "3 measured" in reruns.done["cut"].out.splitlines()[-1]


def test_a_slow_down_that_stays_open_fails_the_run_where_that_is_asked_for(reruns: Reruns) -> None:
    for name, code in (("told", 0), ("failed", 13)):
        done = reruns.done[name]
        assert done.code == code, done.out + done.err
        assert "1 inconclusive" in done.out.splitlines()[-1]
        assert re.search("inconclusive: speed of dense-vit-digits-cpu: .*: neither slower nor not slower", done.out)


def test_pytest_benchmarks_own_table_is_there_where_it_is_asked_for_and_says_what_it_is(reruns: Reruns) -> None:
    """Its rows are seconds of each by itself: their ratio contradicts the paired one."""
    table, warned = "benchmark 'vit-digits 32 on cpu': 1 tests", "its rows were not taken side by side"
    for name in ("slower", "told"):
        assert "benchmark 'vit-digits" not in reruns.done[name].out and warned not in reruns.done[name].out
    asked = reruns.done["failed"].out
    assert asked.index(" pressbench ") < asked.index(warned) < asked.index(table)
    assert "Wrote benchmark data in" in reruns.done["slower"].out + reruns.done["slower"].err


def test_each_is_reported_once_with_its_last_verdict(reruns: Reruns) -> None:
    done = reruns.done["slower"]
    assert done.code == pytest.ExitCode.TESTS_FAILED, done.out + done.err
    last = done.out.splitlines()[-1]
    assert "1 failed" in last
    assert "2 measured" in last
    for name in ("dense", "planted-worse"):
        said = f"pressbench: {name}-vit-digits-cpu: suspected regression, measured again at the end of the run"
        assert (done.out + done.err).count(said) == 1
    assert f"regression: speed of {CASES[-1]}: " in done.out
    assert "suspect in 2 of 3 fresh processes" in done.out
    assert "1 regression" in done.out
    found = {c.get("name"): c for c in ElementTree.parse(reruns.place.folder / "junit.xml").iter("testcase")}
    assert set(found) == {f"test_speed[{case}]" for case in CASES}
    assert len(list(ElementTree.parse(reruns.place.folder / "junit.xml").iter("testcase"))) == len(CASES)
    for case in found.values():
        assert [p.get("name") for p in case.iter("property")] == ["verdict", "reason"]
    (failure,) = found[f"test_speed[{CASES[-1]}]"].iter("failure")
    assert "regression: " in str(failure.get("message"))
    timed = json.loads((reruns.place.folder / "benchmark.json").read_text())["benchmarks"]
    assert sorted(one["extra_info"]["case"] for one in timed) == sorted(CASES)


def test_a_run_that_was_killed_before_the_reruns_makes_them_when_it_is_resumed(reruns: Reruns) -> None:
    done = reruns.done["cut"]
    assert done.code == 0, done.out + done.err
    assert "3 of 3 cases are finished" in done.out + done.err
    assert reruns.order("cut") == ["dense", "planted-worse"] * 2
    before, after = reruns.records("slower"), reruns.records("cut")
    assert after[: len(CASES)] == before[: len(CASES)]
    assert outcomes(after[len(CASES) :]) == [(name, "noise", (2.0, 2.0)) for name in ("dense", "planted-worse")]


def test_no_time_below_nought_is_taken(reruns: Reruns) -> None:
    done = reruns.place.batch({"x": reruns.place.command("--collect-only", "--rerun-after", "-1")})["x"]
    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert "a time is a number of seconds, at least 0, got -1" in done.err
