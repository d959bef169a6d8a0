"""How records become the rows of a table: what is joined, what is told apart, what counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, nightly, terminal, write

from results.store.record import Measure
from results.table.rows import rows

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_rows_join_the_measures_and_stand_dense_first(tmp_path: Path) -> None:
    found = rows(write(tmp_path, nightly()))
    assert [(row.first.model, row.label, row.first.role) for row in found] == [
        ("minilm", "dense", "dense"),
        ("minilm", "openvino-fp32", "control"),
        ("minilm", "int8-openvino", "method"),
        ("minilm", "magnitude-0.9", "method"),
        ("minilm", "svd-rank-64", "method"),
        ("minilm", "gptq-4bit", "method"),
        ("minilm", "fp8-dynamic", "method"),
        ("vit-tiny", "int8-openvino", "method"),
    ]
    row = found[2]
    assert (row.workload, row.pairs, row.control) == ("8x128", 24, "openvino-fp32")
    assert (row.measure("accuracy").value, row.measure("speedup").low) == (0.968, 2.55)
    assert row.verdict("footprint") == "pass"
    assert found[0].verdict("speed") is None and found[0].measure("speedup").value is None


def test_each_workload_has_its_row_with_the_accuracy_of_its_compressor(tmp_path: Path) -> None:
    cases = [
        case("int8", measures={"accuracy": Measure(value=0.9)}),
        case("int8", "speed", workload="1x16", case="int8-1x16", measures={"speedup": Measure(value=1.2)}),
        case("int8", "speed", workload="8x128", case="int8-8x128", measures={"speedup": Measure(value=2.2)}),
    ]
    found = rows(write(tmp_path, cases))
    assert [(row.workload, row.measure("speedup").value) for row in found] == [("1x16", 1.2), ("8x128", 2.2)]
    assert [row.measure("accuracy").value for row in found] == [0.9, 0.9]


def test_compressors_that_differ_in_parameters_alone_are_told_apart(tmp_path: Path) -> None:
    cases = [
        case(
            "magnitude",
            case=f"magnitude-{s}",
            parameters={"sparsity": s},
            measures={"accuracy": Measure(value=s)},
        )
        for s in (0.5, 0.9)
    ]
    found = rows(write(tmp_path, cases))
    assert [row.label for row in found] == ["magnitude (sparsity=0.5)", "magnitude (sparsity=0.9)"]
    assert [row.measure("accuracy").value for row in found] == [0.5, 0.9]


def test_two_tasks_of_one_model_do_not_mix(tmp_path: Path) -> None:
    cases = [case("int8", task=task, measures={"accuracy": Measure(value=v)}) for task, v in (("a", 0.1), ("b", 0.2))]
    found = rows(write(tmp_path, cases))
    assert [(row.first.task, row.measure("accuracy").value) for row in found] == [("a", 0.1), ("b", 0.2)]


def test_a_case_measured_again_counts_once_and_says_so(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        [case("int8", verdict="fail", reason="first try"), case("int8")],
        expected=("int8-minilm-bbc-cpu",),
    )
    assert [row.verdict("accuracy") for row in rows(run)] == ["pass"]
    text = terminal(run)
    assert "executed 1 of 1: 1 pass" in text
    assert "int8-minilm-bbc-cpu: measured more than once, the last record counts" in text
    assert "first try" not in text
