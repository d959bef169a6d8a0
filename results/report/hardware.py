"""The page that is handed over with a machine: its noise and ceilings, each promise of its class kept or not, and how
near every case came to what the machine can do. Made from two files that lie beside it, whose hashes it names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from results.history.qualification import Qualification
from results.history.qualification_table import ceilings
from results.report.bundle import digest
from results.report.page import HERE, environment
from results.report.promises import Promise, Reach, promises, reached
from results.store.record import Measure
from results.store.store import read_run
from results.store.strict_json import ResultsError, decode
from results.store.text import markdown, shown
from results.table.cells import MISSING, circumstances, numbers

RECORDS, QUALIFICATION = "records.jsonl", "qualification.jsonl"
HTML, MARKDOWN = "hardware.html", "hardware.md"
_STYLES = {"kept": "pass", "broken": "fail", "open": "inconclusive", "not measured": "error"}


@dataclass(frozen=True)
class Pages:
    """html, markdown: the page in both forms. fit: whether the machine qualified and every promise was kept."""

    html: str
    markdown: str
    fit: bool


def pages(folder: Path) -> Pages:
    """The page of the two files in `folder`. Raises ResultsError where one cannot be read."""
    return _rendered(_facts(folder))


def check(folder: Path) -> list[str]:
    """What of the pages in `folder` is not what its records make; empty where all is. Raises ResultsError where a file
    cannot be read."""
    made = pages(folder)
    wrong = []
    for name, text in ((HTML, made.html), (MARKDOWN, made.markdown)):
        try:
            there = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise ResultsError(f"{shown(str(folder / name))}: cannot be read: {why}") from None
        if there != text:
            wrong.append(f"{name} is not what {RECORDS} and {QUALIFICATION} make, by this version of pressbench")
    return wrong


def _facts(folder: Path) -> dict[str, Any]:
    run, qualification = read_run(folder / RECORDS), _qualification(folder / QUALIFICATION)
    key = qualification.machine.get("key", {})
    machine = key.get("gpu", {}).get("name") or key.get("cpu", {}).get("brand_raw") or "unknown machine"
    held, near = promises(run), reached(run, qualification.ceilings)
    counts = {word: sum(one.outcome == word for one in held) for word in _STYLES}
    said = [(word, count) for word, count in counts.items() if count]
    fit = qualification.qualified and counts["kept"] == len(held) and run.end is not None
    missed = [one.name for one in qualification.criteria if one.outcome == "missed"]
    wrong = [
        *(["the run was interrupted"] if run.end is None else []),
        *([f"not fit to judge speed by: {', '.join(missed)}"] if not qualification.qualified else []),
        *(f"{count} {word}" for word, count in said if word != "kept"),
    ]
    return {
        "machine": f"{machine}, {qualification.hardware_class}",
        "circumstances": f"{circumstances(run.header)}, pressbench {run.header.pressbench}, fingerprint "
        f"{qualification.fingerprint[:16]}",
        "state": "pass" if fit and held else "fail" if counts["broken"] or not qualification.qualified else "neutral",
        "outcome": "; ".join(wrong).capitalize() or f"Fit to judge speed by, and all {len(held)} promises kept",
        "counts": [*((f"promises {word}" if word == "kept" else word, count) for word, count in said)],
        "noise": f"Ratios move by {qualification.tau:.2%} of themselves here (τ): speed targets are widened by the "
        f"factor {math.exp(2.326 * qualification.tau):.3f}.",
        "criteria": qualification.criteria,
        "ceilings": ceilings(qualification.ceilings),
        "promises": list(_groups(held)),
        "reach": [_line(one) for one in near],
        "digests": [(name, _sha256(folder / name)) for name in (RECORDS, QUALIFICATION)],
        "fit": fit,
    }


def _rendered(facts: dict[str, Any]) -> Pages:
    style = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    policy = f"default-src 'none'; style-src {digest(style)}; base-uri 'none'; form-action 'none'"
    page = environment().get_template("hardware.html.jinja").render(facts, style=style, policy=policy)
    return Pages(page, "".join(f"{line}\n" for line in _markdown(facts)), facts["fit"])


def _markdown(facts: dict[str, Any]) -> Iterator[str]:
    def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
        for cells in (list(headings), ["---"] * len(headings), *([markdown(cell) for cell in line] for line in lines)):
            yield f"| {' | '.join(cells)} |"
        yield ""

    yield from (f"# {markdown(facts['machine'])}", "", markdown(facts["circumstances"]), "")
    yield from (f"**{markdown(facts['outcome'])}**", "", "## Its noise", "", markdown(facts["noise"]), "")
    criteria = [(one.name, one.found, one.bound, one.outcome) for one in facts["criteria"]]
    yield from table(("criterion", "found", "bound", "outcome"), criteria)
    yield from ("## Its ceilings", "", *(f"- {markdown(name)}: {value}" for name, value in facts["ceilings"]), "")
    yield from ("## What is promised of its class", "")
    for group in facts["promises"]:
        yield from (f"### {markdown(group['model'])}", "")
        yield from table(("case", "promise", "found", "outcome"), [line[:4] for line in group["lines"]])
    yield from ("## How near each case comes to the machine", "")
    headings = ("case", "time of a call", "billions of operations a second", "of the ceiling")
    yield from table(headings, [(case, took, rate, text) for case, took, rate, _, text in facts["reach"]])
    yield from ("## What this page is made from", "", *(f"- {name}: SHA-256 {sha}" for name, sha in facts["digests"]))


def _groups(held: Sequence[Promise]) -> Iterator[dict[str, Any]]:
    for model in dict.fromkeys(one.record.model for one in held):
        yield {"model": model, "lines": [_promise(one) for one in held if one.record.model == model]}


def _promise(one: Promise) -> tuple[str, str, str, str, str]:
    """(case, promise, found, outcome, style of the outcome)."""
    scale, digits, unit = {"accuracy": (100.0, 1, " points" if one.points else " %"), "speed": (1.0, 2, "×")}.get(
        one.record.measure, (1.0, 3, "×")
    )
    value, interval, bound = numbers(one.found, digits, scale, one.record.measure == "accuracy")
    what = {"accuracy": "lost", "speed": "speed-up", "footprint": "size"}.get(one.record.measure, one.record.measure)
    promise = f"{what} {one.sign} {bound}{unit}" if bound else what
    found = MISSING if one.found.value is None else f"{value}{unit} {interval}".rstrip()
    return one.record.case, promise, found, one.outcome, _STYLES[one.outcome]


def _line(one: Reach) -> tuple[str, str, str, float | None, str]:
    """(case, time of a call, rate, share between 0 and 1 for a meter, share as text)."""
    rate = MISSING if one.rate is None else f"{one.rate:,.0f}"
    label = ", ".join(filter(None, (one.row.first.model, one.row.label, one.row.workload)))
    took = _milliseconds(one.seconds)
    if one.share is None:
        return label, took, rate, None, one.why
    text = f"{one.share:.0%}".replace("%", " %") + (" of the bandwidth" if one.decodes else "")
    return label, took, rate, min(1.0, one.share), text


def _milliseconds(seconds: float) -> str:
    number, _, _ = numbers(Measure(value=1e3 * seconds), None)
    return f"{number} ms"


def _qualification(path: Path) -> Qualification:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ResultsError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None
    if len(lines) != 1:
        raise ResultsError(f"{shown(str(path))}: {len(lines)} lines, must be the one qualification of this page")
    return Qualification.from_json(decode(lines[0]), f"{shown(str(path))} line 1")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
