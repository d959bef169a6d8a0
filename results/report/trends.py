"""A case's history over stored runs: one line a fingerprint, with what was accepted marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.history.baseline import Baseline
from results.history.comparable import Key, measured_on, moved_between, usable
from results.report.charts import COLOURS, INK, SHAPES, Chart, Columns, Spec, layer, number, spec, word
from results.report.safe import number as finite
from results.store.quality import quality_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.tally import latest
from results.table.cells import date

SHOWN = {"accuracy": ("accuracy", 100.0, "accuracy, %"), "speed": ("speedup", 1.0, "speed-up over dense"),
         "footprint": ("size_ratio", 1.0, "size over dense"),
         "perplexity": ("perplexity", 1.0, "perplexity"), "score": ("score", 100.0, "score, points")}  # fmt: skip
"""Measure, or what stands for accuracy -> the number that is drawn, times what, and the title of its axis."""


@dataclass(frozen=True)
class History:
    """runs: oldest first. accepted: (measure, case) -> run id -> why, of all results that were ever accepted as far as
    these runs and the baseline know."""

    runs: Sequence[Run]
    accepted: Mapping[Key, Mapping[str, str]]


def history(runs: Sequence[Run], baseline: Baseline | None) -> History:
    """The history that `runs` hold. A run was accepted where the baseline has it, or where a later record was
    compared with it."""
    ordered = sorted(runs, key=lambda run: (run.header.started, run.header.run))
    accepted: dict[Key, dict[str, str]] = {}
    for run in ordered:
        for record in run.cases:
            against = record.comparison.get("against")
            if isinstance(against, str):
                accepted.setdefault((record.measure, record.case), {}).setdefault(against, "accepted")
    for key, one in baseline.cases.items() if baseline else ():
        accepted.setdefault(key, {})[one.run] = f"accepted {one.accepted} {one.reason}".rstrip()
    return History(ordered, accepted)


def charts(known: History, measure: str, case: str) -> list[tuple[str, Chart]]:
    """(caption, plot) of one case's history; empty where fewer than two runs have a result of it. Runs on another model
    or other data than the last one have no part in it."""
    every = [r for run in known.runs for r in run.cases if (r.measure, r.case) == (measure, case)]
    drawn_as = quality_of(every[-1]).value if measure == "accuracy" and every else measure
    last = next((on for record in reversed(every) if (on := measured_on(record))), {})
    name, scale, title = SHOWN[drawn_as]
    accepted = known.accepted.get((measure, case), {})
    columns: dict[str, list[object]] = {
        key: [] for key in ("order", "run", "started", "value", "low", "high", "machine", "verdict", "accepted")
    }
    for order, run in enumerate(known.runs, 1):
        for record in latest(run.cases):
            if (record.measure, record.case) != (measure, case) or not usable_here(record):
                continue
            if moved_between(measured_on(record), last):
                continue
            found = record.measures.get(name)
            value = finite(found.value) if found else None
            if found is None or value is None:
                continue
            low, high = finite(found.low), finite(found.high)
            columns["order"].append(order)
            columns["run"].append(run.header.run)
            columns["started"].append(date(run.header.started) if run.header.started else "date unknown")
            columns["value"].append(value * scale)
            columns["low"].append((value if low is None else low) * scale)
            columns["high"].append((value if high is None else high) * scale)
            columns["machine"].append(machine(record, run))
            columns["verdict"].append(record.verdict)
            columns["accepted"].append(accepted.get(run.header.run))
    if len(columns["order"]) < 2:
        return []
    marked = sum(1 for why in columns["accepted"] if why)
    rings = f"; {marked} accepted, ringed" if marked else "; none of them accepted"
    drawn: Columns = columns
    return [
        (
            f"{title}: {len(columns['order'])} runs, oldest on the left{rings}. A line is one machine (fingerprint).",
            Chart(f"trend:{drawn_as}", f"{title} of the case in {len(columns['order'])} runs.", {"runs": drawn}),
        )
    ]


def usable_here(record: CaseRecord) -> bool:
    """As `usable`, for a record whose evidence may hold anything."""
    return isinstance(record.evidence.get("conditions", {}), Mapping) and usable(record)


def machine(record: CaseRecord, run: Run) -> str:
    """A fingerprint as people tell it apart: the machine's name and the first digits of the hash."""
    print_ = record.fingerprint or str(run.header.machine.get("hash") or "")
    name = str(run.header.machine.get("name") or run.header.machine.get("cpu") or "unknown machine")
    return f"{name} {print_[:8]}" if print_ else name


def specs() -> dict[str, Spec]:
    """Name -> specification, one for each measure."""
    return {f"trend:{measure}": _spec(title) for measure, (_, _, title) in SHOWN.items()}


def _spec(title: str) -> Spec:
    across = number(
        "order",
        "run",
        axis={"labelExpr": "datum.value % 1 ? '' : datum.value", "ticks": False, "grid": False},
        scale={"zero": False, "padding": 12},
    )

    def up(field: str) -> Spec:
        return number(field, title, scale={"zero": False, "padding": 10}, axis={"tickCount": 4, "format": ".4~g"})

    colour = word("machine", scale={"range": list(COLOURS)}, sort=None)
    shape = word("machine", scale={"range": list(SHAPES)}, sort=None, legend=None)
    return spec(
        180,
        layer("runs", {"type": "rule", "opacity": 0.4}, x=across, y=up("low"), y2={"field": "high"}, color=colour),
        layer("runs", {"type": "line", "opacity": 0.7, "strokeWidth": 1.3}, x=across, y=up("value"), color=colour),
        layer(
            "runs", {"type": "point", "filled": False, "size": 210, "color": INK, "strokeWidth": 1.6},
            [{"filter": "isValid(datum.accepted)"}], x=across, y=up("value"),
        ),
        layer(
            "runs", {"type": "point", "filled": True, "size": 60, "opacity": 1}, x=across, y=up("value"), color=colour,
            shape=shape,
            tooltip=[word("run", "run"), word("started", "started"), number("value", title, format=".4g"),
                     word("machine", "machine"), word("verdict", "verdict"), word("accepted", "accepted")],
        ),
    )  # fmt: skip
