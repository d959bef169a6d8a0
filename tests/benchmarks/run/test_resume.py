"""A run is resumed as it was begun: what differs is told in one line, and what is finished is not measured again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run.resume import check_same, differing, finished
from results.store.record import CaseRecord, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import ResultsError, read_run

MACHINE = {"hash": "a" * 64, "key": {"threads": 2, "libraries": {"torch": "2.13", "numpy": "2.3"}}}
OPTIONS = {"model": ["vit-digits"], "tier": "quick", "seed": 0, "compressor": None, "targets_sha256": "aa"}
BEFORE = RunHeader(
    run="20261121T221530Z-3f2a", started="", pressbench="1", options=OPTIONS, machine=MACHINE, expected=("a", "a", "b")
)


def test_the_same_run_is_the_same_in_any_order() -> None:
    check_same(BEFORE, dataclasses.replace(BEFORE, run="x", started="later", expected=("b", "a", "a")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"options": {**OPTIONS, "seed": 7}}, "--seed was 0, is 7"),
        ({"options": {**OPTIONS, "model": ["a", "b"]}}, "--model was vit-digits, is a b"),
        ({"options": {**OPTIONS, "compressor": ["a"]}}, "--compressor was not given, is a"),
        ({"options": {**OPTIONS, "targets_sha256": "bb"}}, "the targets file (its SHA-256) was aa, is bb"),
        ({"pressbench": "2"}, "it was begun by pressbench 1, this is 2"),
        (
            {"machine": {"hash": "b", "key": {"threads": 4, "libraries": {"torch": "2.14", "numpy": "2.3"}}}},
            "the fingerprint differs: libraries.torch was 2.13, is 2.14; threads was 2, is 4",
        ),
        ({"expected": ("a", "b")}, "other cases are selected now (2, were 3; a is in one selection only)"),
    ],
)
def test_what_differs_is_one_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ResultsError) as error:
        check_same(BEFORE, dataclasses.replace(BEFORE, **change))
    assert str(error.value) == f"run {BEFORE.run} cannot be resumed: {told}"


def test_an_option_that_is_newer_than_the_run_does_not_count() -> None:
    check_same(BEFORE, dataclasses.replace(BEFORE, options={**OPTIONS, "newer": 1}))


def test_a_field_that_one_has_alone_differs() -> None:
    assert differing({"gpu": {"name": "x"}}, {}) == ["gpu was {'name': 'x'}, is not given"]


def test_a_case_is_finished_by_its_last_record(tmp_path: Path) -> None:
    def record(case: str, verdict: str, measure: str = "accuracy") -> CaseRecord:
        return CaseRecord(run=BEFORE.run, case=case, measure=measure, compressor=case, model="m", hardware="cpu",
                          verdict=verdict)  # fmt: skip

    with RunWriter(tmp_path, BEFORE) as writer:
        for found in (record("a", "fail"), record("a", "pass", "speed"), record("a", "pass")):
            writer.write(found)
    known = finished(read_run(writer.path))
    assert {key: r.verdict for key, r in known.items()} == {("a", "accuracy"): "pass", ("a", "speed"): "pass"}
