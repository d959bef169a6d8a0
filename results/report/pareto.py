"""Quality against speed, size or memory: the points, the front among them, and a specification for each pair of axes.

Every axis runs from worse to better, to the right and upwards, so that the front is always the upper right edge. The
page's script puts names at the points, as many as there is room for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.report.charts import INK, Chart, Columns, Spec, families, layer, number, spec, word
from results.report.safe import number as finite
from results.store.quality import ACCURACY, MIXED, qualities, quality_of, words_of
from results.store.text import clipped
from results.table.cells import cells, title, verdict
from results.table.front import unbeaten
from results.table.rows import Row, judged


@dataclass(frozen=True)
class Axis:
    """One way to look at a case. measure: its name in the records, times `scale`; unit: how ticks are written."""

    name: str
    title: str
    measure: str
    more_is_better: bool
    ticks: str
    scale: float = 1
    logarithmic: bool = False

    @property
    def choice(self) -> str:
        """What a reader picks it by."""
        return self.title.partition(" (")[0]


ACROSS = (
    Axis("speed", "speed-up over dense", "speedup", True, "format(datum.value, '~g') + '×'", 1, True),
    Axis("control", "speed-up over the best control", "speedup_vs_control", True,
         "format(datum.value, '~g') + '×'", 1, True),
    Axis("size", "size over dense (smaller to the right)", "size_ratio", False,
         "format(datum.value, '~g') + '×'", 1, True),
    Axis("memory", "peak memory, MiB (less to the right)", "peak_memory_bytes", False,
         "format(datum.value, ',~g')", 1 / 2**20, True),
)  # fmt: skip
UP = (
    Axis("drop", "lost against dense, points or % (less is up)", "accuracy_drop", False,
         "datum.value ? format(datum.value, '+~g') : '0'", 100),
    Axis("accuracy", "accuracy, %", "accuracy", True, "format(datum.value, '~g')", 100),
)  # fmt: skip
_HOVER = {  # what is empty is called by how quality is told
    "name": "compressor",
    "strength": "strength",
    "family": "family",
    "accuracy": "",
    "drop": "",
    "speed": "speed-up over dense",
    "control": "over the best control",
    "size": "size over dense",
    "memory": "peak memory",
    "verdicts": "",
}


_STRENGTH = 200
"""Characters of a method's parameters that a point tells."""


@dataclass(frozen=True)
class Plot:
    """One plot: a model on a device, at one workload."""

    title: str
    chart: Chart


def plots(groups: Sequence[Sequence[Row]], anchors: Mapping[int, str]) -> list[Plot]:
    """A plot for each group of rows and workload that has a point. anchors: id(row) -> where its case is told."""
    found = []
    for group in groups:
        for workload in dict.fromkeys(row.workload for row in group):
            rows = [row for row in group if row.workload == workload]
            points = [point for row in rows if (point := _point(row, anchors[id(row)]))]
            if points:
                name = title(group) + (f", {workload}" if workload else "")
                label = f"Scatter plot of {len(points)} compressors on {name}; the table above has the numbers."
                found.append(Plot(name, Chart("pareto", label, {"points": _columns(points)})))
    return found


def specs(groups: Sequence[Sequence[Row]]) -> dict[str, Spec]:
    """Name -> specification, `pareto:speed:drop` for each pair of axes."""
    known = families([_family(row) for group in groups for row in group])
    words = words_of(record for group in groups for record in judged(group, "accuracy"))
    hover = _HOVER | {"accuracy": words.value, "drop": words.lost(), "verdicts": f"{words.value}, speed, size"}
    return {f"pareto:{x.name}:{y.name}": _spec(x, y, known, hover) for x, y in itertools.product(ACROSS, up(groups))}


def up(groups: Sequence[Sequence[Row]]) -> list[Axis]:
    """The axes of quality that have something to show, called what it is called in all of these rows."""
    records = [record for group in groups for record in judged(group, "accuracy")]
    words, told = words_of(records), qualities(records) or [ACCURACY]
    lost = f"{'lost' if words is MIXED else words.loss} against dense, {words.unit} (less is up)"
    return [replace(axis, title=lost) if axis.name == "drop" else axis
            for axis in UP if axis.name == "drop" or ACCURACY in told]  # fmt: skip


def front(points: Sequence[Mapping[str, Any]], x: Axis, y: Axis) -> set[int]:
    """The positions of points that no other beats in one of x and y without losing in the other."""
    known = {
        i: [p[axis.name] if axis.more_is_better else -p[axis.name] for axis in (x, y)]
        for i, p in enumerate(points)
        if p[x.name] is not None and p[y.name] is not None
    }
    return unbeaten(known)


def _family(row: Row) -> str:
    """References are families of their own, whatever a record calls its family."""
    return row.first.family or "other" if row.first.role == "method" else row.first.role


def _point(row: Row, anchor: str) -> dict[str, Any] | None:
    """One row's numbers for every axis, None where it has too few to be drawn."""
    told = quality_of(row.records.get("accuracy"))
    point: dict[str, Any] = {
        "name": row.label, "strength": _strength(row), "family": _family(row), "anchor": anchor
    }  # fmt: skip
    for axis in (*ACROSS, *UP):
        measure = row.measure(told.loss if axis.name == "drop" else axis.measure)
        value = _drawn(measure.value, axis)
        low, high = _drawn(measure.low, axis), _drawn(measure.high, axis)
        point[axis.name] = value
        point[f"{axis.name}_low"] = value if low is None else low  # an open end is drawn as none
        point[f"{axis.name}_high"] = value if high is None else high
    if not any(point[x.name] is not None and point[y.name] is not None for x in ACROSS for y in UP):
        return None
    cell = cells(row)
    texts = (cell.accuracy, cell.drop, cell.speedup, cell.over_control, cell.size, cell.memory)
    verdicts = ", ".join(verdict(row.verdict(measure)) for measure in ("accuracy", "speed", "footprint"))
    names = ("accuracy", "drop", "speed", "control", "size", "memory", "verdicts")
    words = words_of(judged([row], "accuracy"))
    spoken = (row.label, point["strength"], f"speed-up over dense {cell.speedup}", f"{words.loss} {cell.drop}",
              f"size over dense {cell.size}", f"peak memory {cell.memory}")  # fmt: skip
    point["spoken"] = ", ".join(part for part in spoken if part)
    return point | {f"{name}_text": text for name, text in zip(names, (*texts, verdicts), strict=True)}


def _strength(row: Row) -> str:
    """The parameters that a method was run with: `bits = 4, group_size = 64`; empty where it has none."""
    given = ((name, value) for name, value in row.first.parameters.items() if name != "compressor")
    return clipped(", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given), _STRENGTH)


def _drawn(value: object, axis: Axis) -> float | None:
    found = finite(value)
    if found is None or (axis.logarithmic and found <= 0):
        return None
    return found * axis.scale


def _columns(points: Sequence[dict[str, Any]]) -> Columns:
    columns: dict[str, list[Any]] = {key: [point[key] for point in points] for key in points[0]}
    for x, y in itertools.product(ACROSS, UP):
        on_front = front(points, x, y)
        columns[f"front_{x.name}_{y.name}"] = [i in on_front for i in range(len(points))]
    return columns


def _spec(x: Axis, y: Axis, known: tuple[Spec, Spec], said: Mapping[str, str]) -> Spec:
    colours, shapes = known
    on_front = [{"filter": f"datum.front_{x.name}_{y.name}"}]
    drawn = [{"filter": f"isValid(datum.{x.name}) && isValid(datum.{y.name})"}]

    def across(field: str) -> Spec:
        kind: Spec = {"type": "log", "nice": False} if x.logarithmic else {"zero": False}
        axis = {"labelExpr": x.ticks, "tickCount": 5, "labelOverlap": True}
        scale = {**kind, "reverse": not x.more_is_better, "padding": 16}
        return number(field, x.title, scale=scale, axis=axis)

    def upwards(field: str) -> Spec:
        scale = {"reverse": not y.more_is_better, "zero": False, "nice": True}
        return number(field, y.title, scale=scale, axis={"labelExpr": y.ticks, "tickCount": 6})

    colour = word("family", scale=colours)
    hover = [
        {"field": name if name in ("name", "strength", "family") else f"{name}_text", "type": "nominal", "title": title}
        for name, title in said.items()
    ]
    thin: Spec = {"type": "rule", "opacity": 0.45, "strokeWidth": 1.3}
    return spec(
        380,
        layer(
            "points", {"type": "line", "interpolate": "step-before", "strokeDash": [5, 4], "opacity": 0.55,
                       "color": INK, "strokeWidth": 1.2}, [*drawn, *on_front],
            x=across(x.name), y=upwards(y.name),
            order={"field": x.name, "type": "quantitative", "sort": "ascending" if x.more_is_better else "descending"},
        ),
        layer("points", thin, drawn, x=across(f"{x.name}_low"), x2={"field": f"{x.name}_high"}, y=upwards(y.name),
              color=colour),
        layer("points", thin, drawn, x=across(x.name), y=upwards(f"{y.name}_low"), y2={"field": f"{y.name}_high"},
              color=colour),
        layer(
            "points", {"type": "point", "filled": True, "size": 130, "opacity": 1, "stroke": INK, "strokeWidth": 0.8,
                       "cursor": "pointer"}, drawn,
            x=across(x.name), y=upwards(y.name), color=colour, shape=word("family", scale=shapes), tooltip=hover,
            description={"field": "spoken", "type": "nominal"},
        ),
    )  # fmt: skip
