"""Curves: which rows belong to one line, what is drawn of them, and the files for a paper."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from report_runs import method, store, usual

from results.report import curves
from results.report.page import render
from results.store.record import CaseRecord
from results.store.store import Run
from results.table.choice import ALL, sections_of
from results.table.rows import Row

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def swept(name: str, points: list[tuple[dict[str, Any], float, float, float]]) -> list[CaseRecord]:
    """points: (parameters, speed-up, drop, size)."""
    records = []
    for parameters, speed, drop, size in points:
        ident = "-".join([name, *(f"{k}={v}" for k, v in parameters.items())])
        records += [
            replace(r, parameters={"compressor": name, **parameters})
            for r in method(ident, speed, drop, size, family="pruning")
        ]
    return records


def a_sweep() -> list[CaseRecord]:
    shares = (0.9, 0.3, 0.5, 0.7)  # not in order
    magnitude = [({"sparsity": s, "scope": "layer", "alpha": 0.5}, 1.0, s / 10, 1.1 - s) for s in shares]
    wanda = [
        *(({"sparsity": s, "epochs": 0.0}, 1.0, s / 20, 1.1 - s) for s in shares),
        *(({"sparsity": s, "epochs": 2.0}, 1.0, s / 40, 1.1 - s) for s in shares),
    ]
    both = [({"heads": s, "neurons": s, "more": 1}, 1 + s, s / 10, 1.05 - s / 2) for s in (0.25, 0.5, 0.75)]
    few = [({"bits": b}, 1.0, 0.01, b / 32) for b in (8, 4)]
    return [*usual(), *swept("magnitude", magnitude), *swept("wanda", wanda), *swept("cut", both), *swept("few", few)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "runs").mkdir()
    return store(tmp_path / "runs", "20261128T000000Z-aaaa", a_sweep())


def groups_of(run: Run) -> list[list[Row]]:
    return [list(section.rows) for section in sections_of(run, ALL)]


def test_what_changes_alone_is_the_strength(run: Run) -> None:
    """With 0.5 in another parameter too; what goes along with it is no parameter of its own; two points are no line
    unless they are asked for."""
    (rows,) = groups_of(run)
    found = curves.curves(rows)
    assert [(c.name, c.strength, [r.first.parameters[c.strength] for r in c.rows]) for c in found] == [
        ("magnitude", "sparsity", [0.3, 0.5, 0.7, 0.9]),
        ("wanda, epochs = 0.0", "sparsity", [0.3, 0.5, 0.7, 0.9]),
        ("wanda, epochs = 2.0", "sparsity", [0.3, 0.5, 0.7, 0.9]),
        ("cut", "heads", [0.25, 0.5, 0.75]),
    ]
    asked = curves.curves(rows, curves.ASKED)
    assert [c for c in asked if c.name != "few"] == found
    assert [c.strength for c in asked if c.name == "few"] == ["bits"]


def test_the_points_are_the_records_with_their_intervals_and_the_dense_model(run: Run) -> None:
    size, speed = curves.plots(groups_of(run))
    assert (size.across.name, speed.across.name) == ("size", "speed")
    columns = size.chart.data["points"]
    points = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    (one,) = [p for p in points if p["method"] == "magnitude" and p["order"] == 0.7]
    assert (one["x"], one["drop"]) == (pytest.approx(0.4), pytest.approx(7.0))
    assert (one["low"], one["high"]) == (pytest.approx(6.6), pytest.approx(7.4))
    assert one["said"] == "sparsity = 0.7"
    (dense,) = [p for p in points if p["method"] == "dense"]
    assert (dense["x"], dense["drop"]) == (1.0, 0.0)


def test_the_report_has_them_where_there_are_any(run: Run, tmp_path: Path) -> None:
    assert "Methods over their strength" in render(run)
    (tmp_path / "other").mkdir()
    assert "Methods over their strength" not in render(store(tmp_path / "other", "20261128T000000Z-bbbb", usual()))


# -- pressbench plot -------------------------------------------------------------------------------


def test_half_a_point_is_written_as_one(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "runs").mkdir()
    points = [({"bits": bits}, 1.0, drop, bits / 32) for bits, drop in ((8, 0.001), (4, 0.004), (2, 0.012))]
    small = store(tmp_path / "runs", "20261128T000000Z-bbbb", [*usual(), *swept("small", points)])
    assert call("plot", str(small.path), "-o", str(tmp_path / "small.svg"))[0] == 0
    text = (tmp_path / "small.svg").read_text()
    assert ">+0.5<" in text and "500m" not in text


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png", ".json"])
def test_a_file_for_a_paper(run: Run, tmp_path: Path, call: Callable[..., tuple[int, str, str]], suffix: str) -> None:
    target = tmp_path / f"curve{suffix}"
    code, out, err = call("plot", str(run.path), "-o", str(target))
    assert (code, err) == (0, "") and out.startswith(f"{target}: ") and "lines of 5 methods" in out
    content = target.read_bytes()
    assert content[:4] == {".svg": b"<svg", ".pdf": b"%PDF", ".png": b"\x89PNG", ".json": b'{\n "'}[suffix]
    if suffix == ".svg":
        text = content.decode()
        assert "wanda, epochs = 2.0" in text and "currentColor" not in text
    if suffix == ".json":
        assert {p["method"] for p in json.loads(content)["datasets"]["points"]} >= {"magnitude", "cut", "dense"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-o", "curve.gif"), "pressbench: --output curve.gif: must end in .svg, .pdf, .png or .json\n"),
        (("--across", "bits"), "pressbench: --across bits: must be size, speed or length\n"),
        (("--model", "nobody"), "pressbench: no curve over size in this run: it takes 2 strengths of a method"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, call: Callable[..., tuple[int, str, str]], options: tuple[str, ...], told: str
) -> None:
    code, _, err = call("plot", str(run.path), *options)
    assert code == 4 and err.startswith(told) and err.count("\n") == 1
