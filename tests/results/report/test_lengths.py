"""Speed over length: which rows are points of one line, and the file that is drawn."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from report_runs import method, store, usual

from results.report import lengths
from results.store.record import CaseRecord, Measure
from results.table.choice import ALL, sections_of

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def timed(name: str, speeds: dict[str, float], memory: dict[str, float] | None = None) -> list[CaseRecord]:
    """speeds: workload -> speed-up. memory: workload -> MiB."""
    found: list[CaseRecord] = []
    for workload, speed in speeds.items():
        for record in method(name, speed, 0.01, 1.0, family="attention"):
            if record.measure == "speed":
                taken = (memory or {}).get(workload, 0) * 2**20 or None
                measures = {**record.measures, "timed_memory_bytes": Measure(value=taken)}
                evidence = {**record.evidence, "memory_bytes": {"dense": taken and taken * 2, "compressed": taken}}
                found.append(
                    replace(
                        record,
                        workload=workload,
                        case=f"{record.case}-{workload}",
                        measures=measures,
                        evidence=evidence,
                    )
                )
    return found


RECORDS = [
    *usual(),
    *timed("window", {"prefill-1x512": 0.9, "prefill-1x2048": 2.5, "decode-1x2048-16": 1.4}),
    *timed("sinks", {"prefill-1x2048": 2.6, "prefill-1x512": 0.8, "prefill-1x1024": 1.5, "prefill-8x512": 1.1}),
    *timed("short", {"prefill-1x512": 1.0}),
]


def test_a_line_has_the_lengths_of_one_kind_and_batch(tmp_path: Path) -> None:
    run = store(tmp_path, "20261128T000000Z-aaaa", RECORDS)
    (plot,) = lengths.plots([list(section.rows) for section in sections_of(run, ALL)])
    points = plot.chart.data["points"]
    found = {(m, x): y for m, x, y in zip(points["method"], points["x"], points["y"], strict=True)}
    assert found == {
        ("window", 512): 0.9, ("window", 2048): 2.5, ("sinks", 512): 0.8, ("sinks", 1024): 1.5, ("sinks", 2048): 2.6,
    }  # fmt: skip
    assert "prefill, 1 at a time" in plot.title
    assert all(low <= y <= high for low, y, high in zip(points["low"], points["y"], points["high"], strict=True))


def test_memory_is_drawn_beside_the_dense_models(tmp_path: Path) -> None:
    less = timed("window", {"prefill-1x512": 0.9, "prefill-1x2048": 2.5}, {"prefill-1x512": 650, "prefill-1x2048": 900})
    run = store(tmp_path, "20261128T000000Z-aaaa", [*usual(), *less])
    speed, memory = lengths.plots([list(section.rows) for section in sections_of(run, ALL)])
    assert set(speed.chart.data["points"]["method"]) == {"window"}
    points = memory.chart.data["points"]
    found = {(m, x): y for m, x, y in zip(points["method"], points["x"], points["y"], strict=True)}
    assert found == {("window", 512): 650, ("window", 2048): 900, ("dense", 512): 1300, ("dense", 2048): 1800}
    assert memory.chart.label.startswith("Memory of 1 method over length on ")
    specs = lengths.length_specs([speed, memory])
    domains = {one.chart.spec: _looks(specs[one.chart.spec]) for one in (speed, memory)}
    assert [list(looks) for looks in domains.values()] == [["window"], ["window", "dense"]], (
        "who has no point has no key"
    )
    assert domains[speed.chart.spec]["window"] == domains[memory.chart.spec]["window"], "one look in both"


def _looks(spec: Any) -> dict[str, str]:
    """Method -> colour, of a specification's points."""
    scale = spec["layer"][-1]["encoding"]["color"]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_it_is_drawn_by_the_command(tmp_path: Path, call: Any) -> None:
    run = store(tmp_path, "20261128T000000Z-aaaa", RECORDS)
    code, _, err = call("plot", str(run.path), "-o", "length.svg", "--across", "length")
    assert code == 0, err
    drawn = (tmp_path / "length.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg") and "tokens of a text" in drawn and "window" in drawn and "short" not in drawn
    code, _, err = call("plot", str(store(tmp_path, "20261128T000001Z-bbbb", usual()).path), "--across", "length")
    assert code == 4 and "no curve over length" in err and "lengths at which a method was timed" in err
