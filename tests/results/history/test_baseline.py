"""Accepting writes what people review, never excuses a miss, and is read back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.history import acceptance, baseline_file
from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.history import read_history
from results.store.machine import differences
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import ResultsError, Run

PRINT = "ab" * 32


def record(measure: str = "speed", value: float = 2.0, **more: Any) -> CaseRecord:
    name = {"speed": "speedup", "footprint": "size_ratio", "accuracy": "accuracy"}[measure]
    fields: dict[str, Any] = {
        "run": "one", "case": "int8-m-cpu", "measure": measure, "compressor": "int8", "model": "m", "hardware": "cpu",
        "verdict": "pass", "measures": {name: Measure(value=value, low=value * 0.95, high=value * 1.05)},
    }  # fmt: skip
    return CaseRecord(**(fields | more))


def run(*records: CaseRecord, name: str = "one", fingerprint: str = PRINT, key: dict[str, Any] | None = None) -> Run:
    machine = {"hash": fingerprint, "key": key or {"threads": 2}}
    return Run(Path(f"{name}.jsonl"), RunHeader(run=name, started="", machine=machine), records, None, ())


def propose(stored: Run, before: Baseline | None = None, *cases: str) -> tuple[Baseline, list[Any], list[Any]]:
    return acceptance.propose(stored, before, cases, when="2026-11-22", reason="first")


def test_what_is_accepted_comes_back_as_it_was(tmp_path: Path) -> None:
    outcomes = record("accuracy", value=0.5, evidence={"predictions": [0, 1, 2, 0, 1], "labels": [0, 1, 1, 1, 1]})
    after, changes, refused = propose(run(record(), outcomes, record("footprint", value=0.25)))
    assert (len(changes), refused) == (3, [])
    baseline_file.save(after, tmp_path)
    again = baseline_file.load(tmp_path, PRINT)
    assert again == after
    assert again is not None
    assert again.cases["accuracy", "int8-m-cpu"].correct() == [True, True, False, False, True]
    assert baseline_file.load(tmp_path, "cd" * 32) is None


def test_a_speed_that_did_not_change_is_one_more_run_of_what_is_accepted(tmp_path: Path) -> None:
    def grow(before: Baseline | None, name: str, value: float, same: bool) -> Baseline:
        stored = run(record(value=value, run=name, evidence={"measured_on": {"model": "m"}}), name=name)
        return acceptance.propose(stored, before, [], when="2026-11-22", reason="", same=lambda _: same)[0]

    key = ("speed", "int8-m-cpu")
    found = grow(None, "a", 2.0, True)
    assert (found.cases[key].speeds(), found.cases[key].since) == ([2.0], "a")
    found = grow(grow(found, "b", 2.2, True), "b", 2.2, True)  # the same run once
    one = found.cases[key]
    assert (one.speeds(), one.since, one.run) == ([2.0, 2.2], "a", "b")
    assert one.value("speedup") == pytest.approx((2.0 * 2.2) ** 0.5)
    assert one.value("speedup", "low") == pytest.approx(0.95 * (2.0 * 2.2) ** 0.5)
    baseline_file.save(found, tmp_path)
    assert baseline_file.load(tmp_path, PRINT) == found
    anew = grow(found, "c", 1.0, False).cases[key]
    assert (anew.speeds(), anew.since) == ([1.0], "c")
    for number in range(30):
        found = grow(found, f"d{number:02}", 2.1, True)
    assert len(found.cases[key].speeds()) == acceptance.MOST  # then nothing moves it


@given(st.lists(st.booleans(), max_size=40))
def test_outcomes_survive_packing(bits: list[bool]) -> None:
    one = record("accuracy", evidence={"predictions": [int(b) for b in bits], "labels": [1] * len(bits)})
    assert accepted_of(one).correct() == bits


@pytest.mark.parametrize("verdict", ["fail", "error", "unqualified", "unsupported"])
def test_what_is_no_good_result_is_refused_with_its_reason(verdict: str) -> None:
    after, changes, refused = propose(run(record(verdict=verdict, reason="because")))
    assert (dict(after.cases), changes) == ({}, [])
    assert [why for _, why in refused] == [f"{verdict}: because"]


def test_a_regression_that_still_meets_its_target_can_be_accepted_and_a_missed_target_cannot() -> None:
    regressed = record(verdict="fail", comparison={"outcome": "regression"})
    assert len(propose(run(regressed))[1]) == 1
    missed = replace(regressed, measures={"speedup": Measure(value=1.0, bound=2.0, verdict="fail")})
    assert propose(run(missed))[1] == []


def test_speed_taken_on_a_contended_machine_never_becomes_a_baseline() -> None:
    _, changes, refused = propose(run(record(evidence={"conditions": {"undisturbed": False}})))
    assert changes == []
    assert "conditions" in refused[0][1]


def test_only_what_differs_is_changed_and_only_the_named_cases() -> None:
    first, _, _ = propose(run(record(), record(case="prune-m-cpu")))
    assert propose(run(record(), record(case="prune-m-cpu")), first)[1] == []
    second = run(record(value=2.5), record(case="prune-m-cpu", value=3.0))
    after, changes, _ = propose(second, first, "prune-*")
    assert [(c.key, c.before.value("speedup"), c.after.value("speedup")) for c in changes] == [
        (("speed", "prune-m-cpu"), 2.0, 3.0)
    ]
    assert after.cases["speed", "int8-m-cpu"] == first.cases["speed", "int8-m-cpu"]
    with pytest.raises(ResultsError, match=r"no case 'prun' in run one"):
        propose(second, first, "prun")


def test_the_file_is_a_diff_of_one_place_for_one_case(tmp_path: Path) -> None:
    first, _, _ = propose(run(record(), record(case="a-m-cpu")))
    before = baseline_file.save(first, tmp_path).read_text().splitlines()
    after, _, _ = propose(run(record(value=2.5), record(case="a-m-cpu"), name="two"), first, "int8*")
    lines = baseline_file.save(after, tmp_path).read_text().splitlines()
    changed = [n for n, (a, b) in enumerate(zip(before, lines, strict=True)) if a != b]
    assert changed
    assert max(changed) - min(changed) < 8
    assert [p.name for p in tmp_path.iterdir()] == [f"{PRINT[:16]}.json"]


def test_the_losses_of_a_language_model_are_kept_by_document(tmp_path: Path) -> None:
    losses = {"nll": [412.25, 0.1 + 0.2], "tokens": [127, 3]}
    kept, _, _ = propose(run(record("accuracy", evidence=losses, measures={"perplexity": Measure(value=26.7)})))
    path = baseline_file.save(kept, tmp_path)
    (one,) = baseline_file.read(path).cases.values()
    assert one.losses is not None
    assert one.losses["nll"] == pytest.approx(losses["nll"], rel=1e-9) and one.losses["tokens"] == (127, 3)
    assert one.value("perplexity") == 26.7 and one.outcomes is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ('{"schema": 2, "fingerprint": "ab"}', "schema 2, newer than 1"),
        ('{"schema": 1}', "'fingerprint'"),
        ('{"schema": 1, "fingerprint": "ab", "cases": {"speed": 3}}', "'cases'"),
        ('{"schema": 1, "fingerprint": "ab", "cases": {"speed": {"x": {"accepted": "y"}}}}', "'cases.speed.x.run'"),
        (
            '{"schema": 1, "fingerprint": "ab", "cases": {"accuracy": {"x": {"run": "r", "examples": 9, '
            '"outcomes": "ff"}}}}',
            "'cases.accuracy.x.outcomes': expected hexadecimal digits for 9 examples",
        ),
        (
            '{"schema": 1, "fingerprint": "ab", "cases": {"accuracy": {"x": {"run": "r", '
            '"losses": {"nll": "1 2", "tokens": "3"}}}}}',
            "'cases.accuracy.x.losses': expected nll and tokens, or right and words, ",
        ),
    ],
)
def test_a_damaged_baseline_is_told_by_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultsError) as error:
        baseline_file.read(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_fingerprint_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="hexadecimal"):
        baseline_file.load(tmp_path, "../../etc/passwd")


def test_the_fields_that_differ_are_named() -> None:
    one = {"threads": 2, "libraries": {"torch": "2.13.0", "numpy": "2.4"}}
    other = {"threads": 4, "libraries": {"torch": "2.14.0", "numpy": "2.4"}, "gpu": "H100"}
    assert differences(one, other) == [
        "gpu: None, not H100", "libraries.torch: 2.13.0, not 2.14.0", "threads: 2, not 4",
    ]  # fmt: skip


# -- history ---------------------------------------------------------------------------------------


def stored(directory: Path, name: str, value: float, fingerprint: str = PRINT, **more: Any) -> None:
    header = RunHeader(run=name, started="", machine={"hash": fingerprint})
    with RunWriter(directory, header) as writer:
        writer.write(record(value=value, run=name, **more))


def values(found: list[CaseRecord]) -> list[float]:
    return [float(r.measures["speedup"].value or 0) for r in found]


def test_history_is_of_this_machine_oldest_first_and_of_good_results_alone(tmp_path: Path) -> None:
    for day in range(1, 6):
        stored(tmp_path, f"2026110{day}T000000Z-aaaa", float(day))
    stored(tmp_path, "20261106T000000Z-aaaa", 66.0, fingerprint="cd" * 32)
    stored(tmp_path, "20261107T000000Z-aaaa", 77.0, verdict="unqualified")
    stored(tmp_path, "20261108T000000Z-aaaa", 88.0, verdict="error")
    stored(tmp_path, "20261109T000000Z-aaaa", 99.0)
    found = read_history(tmp_path, PRINT, but={"20261109T000000Z-aaaa"})
    assert values(found.of("speed", "int8-m-cpu")) == [1, 2, 3, 4, 5]
    assert values(found.of("speed", "int8-m-cpu", since="20261103T000000Z-aaaa")) == [4, 5]
    assert found.of("accuracy", "int8-m-cpu") == []


def test_history_reads_twenty_runs_and_passes_over_a_file_that_is_none(tmp_path: Path) -> None:
    for minute in range(25):
        stored(tmp_path, f"20261101T00{minute:02}00Z-aaaa", float(minute))
    (tmp_path / "20261102T000000Z-aaaa.jsonl").write_text("garbage\n")
    assert values(read_history(tmp_path, PRINT).of("speed", "int8-m-cpu")) == list(range(5, 25))


def test_a_record_keeps_its_comparison(tmp_path: Path) -> None:
    stored(tmp_path, "20261101T000000Z-aaaa", 1.0, comparison={"outcome": "noise", "reason": "x", "reruns": [1.0]})
    line = json.loads((tmp_path / "20261101T000000Z-aaaa.jsonl").read_text().splitlines()[1])
    assert line["comparison"] == {"outcome": "noise", "reason": "x", "reruns": [1.0]}
    (found,) = read_history(tmp_path, PRINT).of("speed", "int8-m-cpu")
    assert found.comparison["outcome"] == "noise"


def test_an_accepted_result_without_a_number_has_none() -> None:
    assert Accepted(run="r", accepted="").value("speedup") is None
    assert Accepted(run="r", accepted="").correct() is None
