"""What a report says of the whole run, before anything else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import method, store

from results.report.page import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


MEASURED = ("measured",) * 3


@pytest.mark.parametrize(
    ("verdicts", "kind", "line"),
    [
        (("pass",) * 3, "pass", "All 3 that were judged passed"),
        (MEASURED, "neutral", "Nothing was judged: 6 measured without a target"),
        (("measured", "unqualified", "unsupported"), "neutral",
         "Nothing was judged: 4 measured without a target, 1 unqualified, 1 unsupported"),
        (("pass", "unqualified", "pass"), "inconclusive", "Nothing failed, and not all is decided: 1 unqualified"),
        (("pass", "inconclusive", "measured"), "inconclusive",
         "Nothing failed, and not all is decided: 1 inconclusive"),
        (("pass", "error", "fail"), "fail", "1 failed, 1 error"),
    ],
)  # fmt: skip
def test_the_headline_is_green_only_where_something_was_judged_and_nothing_is_open(
    folder: Path, verdicts: tuple[str, ...], kind: str, line: str
) -> None:
    records = [
        *method("dense", 1.0, 0.0, 1.0, role="dense", verdicts=MEASURED),
        *method("int8", 2.0, 0.0, 0.3, verdicts=verdicts),
    ]
    page = Page(render(store(folder, "one", records)))
    ((_, headline),) = [(t, a) for t, a in page.elements if (a.get("class") or "").startswith("state")]
    assert headline["class"] == f"state {kind}" and line in page.said()
    assert ("A target makes a verdict of a number: --within 1pt" in page.said()) == (kind == "neutral")


def test_a_slower_case_that_is_not_settled_is_not_green(folder: Path) -> None:
    records = method("int8", 2.0, 0.0, 0.3, verdicts=("pass",) * 3)
    records[1] = replace(records[1], comparison={"outcome": "suspect", "reason": "slower"})
    text = Page(render(store(folder, "one", records))).said()
    assert "not all is decided: 1 slower than accepted and not settled" in text and "judged passed" not in text
