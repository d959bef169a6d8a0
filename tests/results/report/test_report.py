"""The report as a file: what it says of a run, in which order, and that it stays small."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import PRINT, method, store, usual

from results.history.baseline import Accepted, Baseline
from results.report.changes import changes
from results.report.page import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_hundred_cases_of_two_hundred_pairs_stay_below_six_megabytes(folder: Path) -> None:
    records = [r for i in range(100) for r in method(f"m{i}", 1 + i / 50, i / 5000, 0.2 + i / 200, pairs=200)]
    flipped = {
        "predictions": [1] * 1000, "dense_predictions": [0] * 1000, "labels": [0] * 1000,
        "label_names": ["politics"] * 5,
        "flipped": {"total": 1000, "examples": [{"row": row, "text": "word " * 60} for row in range(40)]},
    }  # fmt: skip
    records = [replace(r, evidence=flipped) if r.measure == "accuracy" else r for r in records]
    page = render(store(folder, "big", records))
    assert len(Page(page).data()["charts"]) >= 300
    assert page.count("word " * 59) == 100 * 40
    assert len(page.encode()) < 6_000_000


def test_a_run_that_went_wrong_says_so_first_and_what_it_was_after_the_results(folder: Path) -> None:
    worse = {
        "outcome": "regression",
        "reason": "slower than the last 9 runs",
        "before": 3.2,
        "now": 2.6,
        "against": "x",
    }
    run = store(folder, "one", usual(int8=worse, distil={"outcome": "unchanged", "reason": ""}))
    page = render(run)
    first = Page(page[: page.index('<section aria-labelledby="results">')]).said()
    assert "1 failed, 1 regressed (which)" in first
    assert "Some CPU, 2 threads, 2026-11-10 22:15 UTC, run one" in first
    look = page[page.index('<section aria-labelledby="attention">') : page.index('<section aria-labelledby="cases">')]
    text = Page(look).said()
    assert "3.20× → 2.60× (−18.8 %)" in text and "slower than the last 9 runs" in text
    assert "drop 2.0 points, allowed 1.0" in text
    assert "1 result is as accepted" in Page(page).said()
    case = next(s for s in page.split('<details class="case"')[1:] if "<h3>int8</h3>" in s)
    anchor = re.match(r' id="([^"]+)"', case)
    assert anchor and f'<a href="#{anchor[1]}">int8-minilm-bbc-cpu-8x128</a>, speed' in look


def test_results_and_plots_come_first_and_what_is_accepted_last(folder: Path) -> None:
    worse = {"outcome": "regression", "reason": "slower"}
    page = Page(render(store(folder, "one", usual(int8=worse), extra={"models": {"minilm-bbc": {"model": "m"}}})))
    headings = [attributes["id"] for tag, attributes in page.elements if tag == "h2"]
    assert headings == ["results", "tradeoffs", "attention", "models", "cases", "time", "machine", "changes"]


def test_without_a_baseline_it_says_so_and_how_to_make_one(folder: Path) -> None:
    text = Page(render(store(folder, "one", usual()))).said()
    assert "nothing is accepted for this machine" in text and "pressbench accept one" in text
    assert "nothing regressed" not in text


def test_an_interrupted_run_does_not_read_as_a_good_one(folder: Path) -> None:
    records = [r for r in usual() if r.compressor == "int8"]
    page = render(store(folder, "one", records, end=False, expected=("int8-minilm-bbc-cpu", "gone", "lost")))
    text = Page(page).said()
    assert "The run was interrupted" in text and "Nothing failed" not in text and "gone" in text


def test_accepted_cases_that_did_not_run_are_told(folder: Path) -> None:
    run = store(folder, "one", usual())
    keys = {(r.measure, r.case): Accepted(run="zero", accepted="2026-11-01") for r in run.cases}
    known = Baseline(PRINT, {}, keys | {
        ("speed", case): Accepted(run="zero", accepted="2026-11-01")
        for case in ("gone-minilm-cpu-8x128", "int8-smollm2-bbc-cpu", "int8-minilm-cuda")
    })  # fmt: skip
    (group,) = changes(run, known).groups  # of another model, or on another device, nothing was to run
    assert (group.outcome, [c.case for c in group.changes]) == ("vanished", ["gone-minilm-cpu-8x128"])
