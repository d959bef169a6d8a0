"""The table of what is held against another of the run: numbers, bounds, and names that are only text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, terminal, write

from results.report.page import render as page
from results.store.record import CaseRecord, Measure
from results.store.store import Run
from results.table.against import against
from results.table.choice import ALL, sections_of
from results.table.table import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
HOSTILE = "<script>|[red]\x1b[31m"


def held(name: str, other: object, loss: Measure, **more: Measure) -> list[CaseRecord]:
    evidence = {"against": {"compressor": other}}
    lost = {"accuracy": Measure(value=0.9), "accuracy_drop": Measure(value=0.0), "loss_against": loss}
    return [
        case(name, measures=lost, evidence=evidence, verdict=loss.verdict),
        case(name, "speed", measures={"speedup": Measure(value=2.0), **more}, evidence=evidence, verdict="measured"),
        case(name, "footprint", measures={"size_ratio": Measure(value=0.5), "size_against": Measure(value=1.25)},
             evidence=evidence, verdict="measured"),
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    judged = Measure(value=0.012, low=-0.003, high=0.028, bound=0.02, verdict="inconclusive", reason="open")
    times = Measure(value=1.5, low=1.25, high=1.75)
    untold = Measure(bound=0.02, verdict="inconclusive", reason="it has no answers")
    return write(tmp_path, [
        case("dense", role="dense", measures={"accuracy": Measure(value=0.9)}, verdict="measured"),
        *held("june", "may", judged, speedup_against=times),
        *held("august", "may", untold),
        *held("july", HOSTILE, Measure(value=0.25)),
        *held("odd", {"not": "a name"}, Measure(value=0.5)),
    ])  # fmt: skip


def test_each_other_has_a_table_with_those_that_are_held_against_it(run: Run) -> None:
    (section,) = sections_of(run, ALL)
    first, second = against(section.rows)
    assert (first.name, second.name) == ("may", HOSTILE), "and none for what names nothing"
    assert first.headings == ("against may", "drop, pts (+ = loss)", "verdict", "speed over its", "size over its")
    (row, *told), (_, *august) = first.rows
    assert row.label == "june"
    assert august == ["–", "? inconclusive ≤ +2.0", "–", "1.250×"], "what cannot be told is open, not left out"
    assert told == ["+1.2 [−0.3, +2.8]", "? inconclusive ≤ +2.0", "1.50× [1.25, 1.75]", "1.250×"]
    assert [text for _, *text in second.rows] == [["+25.0", "· measured", "–", "1.250×"]]


@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_a_name_of_another_is_text(run: Run, form: str) -> None:
    text = terminal(run, 200) if form == "terminal" else render(run, form)
    assert "\x1b" not in text and (r"\x1b" if form == "terminal" else "&#92;x1b") in text
    if form == "markdown":
        lines = [line for line in text.splitlines() if "against" in line and line.startswith("|")]
        assert len(lines) == 2 and {line.count("|") for line in lines} == {6} and "<script>" not in text


def test_a_name_of_another_is_text_in_the_report(run: Run) -> None:
    pytest.importorskip("vl_convert")
    found = page(run)
    assert "<strong>may</strong>" in found and "<strong>&lt;script&gt;" in found and "\x1b" not in found


def test_numbers_are_columns_too(run: Run) -> None:
    lines = render(run, "csv").splitlines()
    names = lines[0].split(",")
    assert {"loss_against", "speedup_against_low", "size_against"} <= set(names)
