"""Which values are marked as best: only those that the intervals leave in the running."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, nightly, three, write

from results.store.record import CaseRecord, Measure
from results.table.best import best
from results.table.columns import column
from results.table.rows import Row, rows_of
from results.table.table import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
SPEEDUP, SIZE, DROP, MEMORY = column("speedup"), column("size"), column("drop"), column("memory")


def speed(
    name: str, value: float | None, low: float | None = None, high: float | None = None, **more: Any
) -> CaseRecord:
    return case(name, "speed", measures={"speedup": Measure(value=value, low=low, high=high)}, **more)


def marked(found: list[CaseRecord], name: str) -> set[str]:
    section = rows_of(found)
    return {section[place].label for place in best(section, column(name))}


def test_whoever_overlaps_the_best_is_marked_too_and_nobody_else() -> None:
    found = [
        speed("a", 2.6, 2.5, 2.7),
        speed("b", 2.4, 2.2, 2.55),
        speed("c", 2.3, 2.1, 2.45),
        speed("d", 1.0, 0.9, 1.1),
    ]
    assert marked(found, "speedup") == {"a", "b"}  # c overlaps b, but not the best


def test_touching_intervals_are_not_told_apart() -> None:
    assert marked([speed("a", 2.6, 2.5, 2.7), speed("b", 2.4, 2.2, 2.5)], "speedup") == {"a", "b"}


def test_an_open_interval_is_not_told_apart_from_anything_beyond_it() -> None:
    assert marked([speed("a", 2.6, 2.5, 2.7), speed("b", 1.2, 1.1, None)], "speedup") == {"a", "b"}
    assert marked([speed("a", 2.6, 2.5, 2.7), speed("b", 1.2, None, 1.3)], "speedup") == {"a"}


def test_sizes_tie_only_at_full_precision() -> None:
    def size(name: str, value: float) -> CaseRecord:
        return case(name, "footprint", measures={"size_ratio": Measure(value=value)})

    assert marked([size("a", 0.25), size("b", 0.25), size("c", 0.25000001)], "size") == {"a", "b"}


def test_a_drop_is_best_where_least_is_lost() -> None:
    def drop(name: str, value: float) -> CaseRecord:
        return case(name, measures={"accuracy_drop": Measure(value=value, low=value - 0.001, high=value + 0.001)})

    assert marked([drop("a", -0.01), drop("b", 0.0), drop("c", 0.02)], "drop") == {"a"}


@pytest.mark.parametrize("verdict", ["fail", "error", "unqualified"])
def test_a_speed_that_was_not_reached_takes_no_part(verdict: str) -> None:
    found = [speed("fast", 9.0, 8.0, 10.0, verdict=verdict), speed("a", 2.0, 1.9, 2.1), speed("b", 1.0, 0.9, 1.1)]
    assert marked(found, "speedup") == {"a"}
    assert marked(found[:2], "speedup") == {"a"}


@pytest.mark.parametrize("role", ["dense", "control"])
def test_dense_and_controls_take_no_part(role: str) -> None:
    found = [speed("fast", 9.0, 8.0, 10.0, role=role), speed("a", 2.0, 1.9, 2.1), speed("b", 1.0, 0.9, 1.1)]
    assert marked(found, "speedup") == {"a"}


def test_workloads_are_no_rivals_in_speed() -> None:
    found = [
        speed("a", 2.0, 1.9, 2.1, case="a-1", workload="1x16"), speed("b", 1.0, 0.9, 1.1, case="b-1", workload="1x16"),
        speed("a", 3.0, 2.9, 3.1, case="a-8", workload="8x128"),
        speed("b", 5.0, 4.9, 5.1, case="b-8", workload="8x128"),
    ]  # fmt: skip
    section = rows_of(found)
    assert {(section[p].label, section[p].workload) for p in best(section, SPEEDUP)} == {("a", "1x16"), ("b", "8x128")}


def test_what_was_measured_once_and_has_no_interval_is_never_marked() -> None:
    found = [case(n, "footprint", measures={"peak_memory_bytes": Measure(value=v)}) for n, v in (("a", 1), ("b", 2))]
    assert marked(found, "memory") == set()


def test_a_method_alone_is_not_the_best_of_anything() -> None:
    assert marked([speed("a", 2.0, 1.9, 2.1), speed("d", 1.0, 1.0, 1.0, role="dense")], "speedup") == set()


ends = st.none() | st.floats(-5, 5)


@given(st.lists(st.tuples(st.floats(-5, 5), ends, ends), min_size=2, max_size=6))
def test_marks_do_not_depend_on_the_order_and_the_best_value_has_one(found: list[Any]) -> None:
    cases = [speed(str(i), *numbers) for i, numbers in enumerate(found)]
    first = marked(cases, "speedup")
    assert all(marked(list(other), "speedup") == first for other in itertools.islice(itertools.permutations(cases), 6))
    top = max(value for value, _, _ in found)
    assert {str(i) for i, (value, _, _) in enumerate(found) if value == top} <= first


def test_every_format_marks_the_same_values(tmp_path: Path) -> None:
    cases = nightly()[:9] + three("openvino-fp32", (0.99, -0.01, -0.02, 0), (5.0, 4.9, 5.1, 2.0), 0.1, role="control")
    run = write(tmp_path, cases)
    # int8-openvino is fastest, and svd-rank-64 unqualified; magnitude is the smallest and fails in accuracy alone.
    expected = {"speedup": {"2.61"}, "size_ratio": {"0.112"}, "accuracy_drop": {"0.003", "0.002"}}
    objects = json.loads(render(run, "json"))["rows"]
    lines = list(csv.DictReader(io.StringIO(render(run, "csv"))))
    for name, values in expected.items():
        assert {str(row["measures"][name]["value"]) for row in objects if row["measures"][name]["best"]} == values
        assert {line[name] for line in lines if line[f"{name}_best"] == "true"} == values
    markdown = render(run, "markdown")
    assert set(re.findall(r"\*\*([^*|]+)\*\*[^|]*\|", markdown)) >= {"2.61×", "0.112×", "+0.3", "+0.2"}
    assert "**1.93×" not in markdown and "**5.00×" not in markdown and "**0.254×" not in markdown
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard")
    text = render(run, "terminal", console)
    assert "\x1b[1m2.61×" in text and "\x1b[1m0.112×" in text
    assert "\x1b[1m5.00×" not in text and "\x1b[1m0.254×" not in text
    latex = render(run, "latex")
    assert r"\textbf{2.61}" in latex and r"\textbf{0.112}" in latex
    assert r"\textbf{5.00}" not in latex and r"\textbf{0.254}" not in latex


def test_a_machine_that_lacks_the_case_leaves_a_gap() -> None:
    section: list[Row | None] = [*rows_of([speed("a", 2.0, 1.9, 2.1), speed("b", 1.0, 0.9, 1.1)]), None]
    assert best(section, SPEEDUP) == {0}
