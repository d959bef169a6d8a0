"""The page: everything put together, with a policy that lets only its own scripts and styles have effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from results.history.baseline import Baseline
from results.report import curves, layers, pairs, pareto, spent, trends
from results.report.bundle import digest, in_element, library
from results.report.cases import Section, sections
from results.report.changes import changes
from results.report.charts import CONFIG, Chart, Spec
from results.report.safe import finalize, mapping, script_json
from results.report.state import state
from results.store.declared import declared
from results.store.machine import fingerprint_of
from results.store.quality import words_of
from results.store.store import Run
from results.table.against import against
from results.table.cells import cells, circumstances, date, headline, made_from, missing, references, title, verdict
from results.table.choice import ALL, sections_of
from results.table.rows import Row, judged, summary

HERE = Path(__file__).parent
URGENT = ("fail", "error")


def render(run: Run, earlier: Sequence[Run] = (), baseline: Baseline | None = None) -> str:
    """The report on `run` as HTML. earlier: runs that its history is drawn from. baseline: what is accepted for its
    machine.

    Raises ResultsError where the plotting library is not installed.
    """
    tables, what = [section.rows for section in sections_of(run, ALL)], summary(run)
    groups = [[row for row in group if row.measured] for group in tables]
    found = [row for group in groups for row in group]
    every = sections(found, run.header, trends.history([*earlier, run], baseline))
    anchors = {id(row): section.anchor for section in every for row in section.rows}
    of_record = {(one.record.measure, one.record.case): s.anchor for s in every for one in s.judged}
    time, charts, changed = spent.spent(run, what), _Charts(), changes(run, baseline)
    style = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    script = in_element((HERE / "page.js").read_text(encoding="utf-8"))
    fingerprint, key = fingerprint_of(run)
    context: dict[str, Any] = {
        "run": run, "what": what, "groups": tables, "sections": every, "anchors": anchors, "of_record": of_record,
        "models": [model for model in declared(run.header).values() if model.facts or model.notes],
        "headline": headline(what), "circumstances": circumstances(run.header), "missing": missing(what),
        "changes": changed, "state": state(what, changed), "urgent": [r for r in what.problems if r.verdict in URGENT],
        "attention": bool(what.problems or what.missing or what.notes or changed.count("regression")),
        "unsettled": [r for r in what.problems if r.verdict not in URGENT],
        "plots": pareto.plots(groups, anchors), "across": pareto.ACROSS, "up": pareto.up(groups),
        "curves": curves.plots(groups), "time": time, "earlier": len(earlier), "chart": charts.add,
        "fingerprint": fingerprint, "machine": flat(key),
        "noted": flat(mapping(run.header.machine.get("noted"))),
        "cells": cells, "against": against, "date": date, "references": references, "made_from": made_from,
        "title": title, "verdict": verdict,
        "row_id": id, "words_of": lambda group: words_of(judged(group, "accuracy")),
        "style": style, "script": script, "library": library(),
        "policy": (
            f"default-src 'none'; script-src {digest(library())} {digest(script)}; style-src {digest(style)}; "
            "img-src data:; "  # pictures of examples, which `picture` draws
            "base-uri 'none'; form-action 'none'"
        ),
        "specs": _specs(groups, time, every), "config": CONFIG, "script_json": script_json,
    }  # fmt: skip
    return environment().get_template("page.html.jinja").render(context, charts=charts.all)


def flat(value: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """(name, value) of everything in a fingerprint, as text: `libraries.torch`, `2.13.0`."""
    found: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            found += flat(item, f"{prefix}{name}.")
        else:
            text = ", ".join(map(str, item)) if isinstance(item, list | tuple) else "–" if item is None else str(item)
            found.append((f"{prefix}{name}", text))
    return found


class _Charts:
    """The plots that the page asks for while it is made, each by a name of its own."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {}

    def add(self, chart: Chart) -> str:
        name = f"chart-{len(self.all) + 1}"
        self.all[name] = chart.to_json()
        return name


def _specs(groups: Sequence[Sequence[Row]], time: spent.Spent, every: Sequence[Section]) -> dict[str, Spec]:
    bars = layers.specs(section.layers for section in every)
    return {
        **pareto.specs(groups),
        **curves.specs(groups),
        **pairs.specs(),
        **trends.specs(),
        **bars,
        **spent.specs(time),
    }


def environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
