"""A method over its strength: how much is lost as it makes more of a model go, as a line through its points.

Which parameter is a method's strength shows in the records: it is the number that differs between rows of one class
that are otherwise the same. Lines are drawn over what a strength buys, size or speed, as a share of weights of one
method and bits of another have no axis in common.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.report.charts import COLOURS, CONFIG, INK, SHAPES, Chart, Columns, Spec, layer, number, spec, word
from results.report.safe import number as finite
from results.store.quality import quality_of, words_of
from results.table.cells import cells, title
from results.table.rows import Row, judged

FEWEST = 3
"""Points that make a curve where nobody asked for one."""
ASKED = 2
"""The same where runs were named to be drawn: a line between two strengths is what two strengths show."""
TICKS = [0, -0.5, 0.5, *(sign * step * 10**power for sign in (-1, 1) for step in (1, 2, 5) for power in range(10))]
"""Where what is lost may have a line, percent or points; those out of sight are left out, and labels that overlap."""
DENSE = "dense"
CLASS = "compressor"
"""The parameter under which a record has its method's class, where it has one."""


@dataclass(frozen=True)
class Across:
    """What a line is drawn over: a name, how its axis is called, and the measure in the records."""

    name: str
    title: str
    measure: str
    reverse: bool


ACROSS = (
    Across("size", "size over dense (smaller to the right)", "size_ratio", True),
    Across("speed", "speed-up over dense", "speedup", False),
)


@dataclass(frozen=True)
class Curve:
    """name: of the method, with the parameters that do not change along it where there are several curves of it.
    strength: the parameter that does. rows: weakest first."""

    name: str
    strength: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plot:
    """The curves of a model on a device at one workload, over one of `ACROSS`."""

    title: str
    across: Across
    chart: Chart


def curves(rows: Sequence[Row], fewest: int = FEWEST) -> list[Curve]:
    """The curves among rows of one model, device and workload, of `fewest` points at least, in the order of their first
    rows."""
    found: list[Curve] = []
    methods: dict[str, list[Row]] = {}
    for row in rows:
        if row.first.role == "method" and isinstance(row.first.parameters, Mapping):
            methods.setdefault(_class_of(row), []).append(row)
    for name, own in methods.items():
        taken: set[int] = set()
        of_class: list[tuple[dict[str, Any], str, list[Row]]] = []
        for strength in _changing(own, fewest):
            alike: dict[str, list[Row]] = {}
            values_of = [(row.first.parameters, row.first.parameters.get(strength)) for row in own]
            # What always has the same value changes along with it, as a share of heads and one of neurons.
            along = [name for name in own[0].first.parameters if all(p.get(name) == v for p, v in values_of)]
            for row in own:
                if id(row) not in taken and finite(row.first.parameters.get(strength)) is not None:
                    alike.setdefault(json.dumps(_others(row, along), sort_keys=True), []).append(row)
            for told, members in alike.items():
                values = {finite(row.first.parameters[strength]) for row in members}
                if len(values) >= fewest:
                    taken |= {id(row) for row in members}
                    members.sort(key=lambda row: finite(row.first.parameters[strength]) or 0)
                    of_class.append((json.loads(told), strength, members))
        for others, strength, members in of_class:
            own_words = [f"{k} = {v}" for k, v in others.items() if any(o.get(k) != v for o, _, _ in of_class)]
            found.append(Curve(", ".join([name, *own_words]), strength, tuple(members)))
    return found


def _class_of(row: Row) -> str:
    """What a method is called whatever its parameters: records have it, or their id begins with it."""
    given = row.first.parameters.get(CLASS)
    if isinstance(given, str) and given:
        return given
    return row.first.compressor.partition(":")[0]


def _others(row: Row, along: Sequence[str]) -> dict[str, Any]:
    """The parameters that do not change along a curve."""
    return {k: v for k, v in row.first.parameters.items() if k not in (*along, CLASS)}


def _changing(rows: Sequence[Row], fewest: int) -> list[str]:
    """Numbers among the parameters that differ between rows, those with most values first."""
    values: dict[str, set[float]] = {}
    for row in rows:
        for name, value in row.first.parameters.items():
            if not isinstance(value, bool) and (found := finite(value)) is not None:
                values.setdefault(name, set()).add(found)
    return sorted((n for n, v in values.items() if len(v) >= fewest), key=lambda name: -len(values[name]))


def plots(groups: Sequence[Sequence[Row]], fewest: int = FEWEST) -> list[Plot]:
    """A plot for each group of rows and workload that has a curve, over size and over speed."""
    found = []
    for group in groups:
        for workload in dict.fromkeys(row.workload for row in group):
            rows = [row for row in group if row.workload == workload]
            lines = curves(rows, fewest)
            name = title(group) + (f", {workload}" if workload else "")
            for across in ACROSS:
                columns = _columns(lines, rows, across, fewest)
                if columns is not None:
                    label = f"Lines of {len(lines)} methods on {name}; the table above has the numbers."
                    found.append(Plot(name, across, Chart(f"curve:{across.name}", label, {"points": columns})))
    return found


def _columns(lines: Sequence[Curve], rows: Sequence[Row], across: Across, fewest: int) -> Columns | None:
    """The points of the lines, and the dense model's; None where no line has enough points on this axis."""
    points: list[dict[str, Any]] = []
    for line in lines:
        own = [p for row in line.rows if (p := _point(row, across, line.name, line.strength)) is not None]
        points += own if len(own) >= fewest else []
    if not points:
        return None
    dense = {"method": DENSE, "said": "dense", "x": 1.0, "x_low": 1.0, "x_high": 1.0, "drop": 0.0, "low": 0.0,
             "high": 0.0, "drop_text": "0", "x_text": "1×", "order": -1.0}  # fmt: skip
    if any(row.first.role == DENSE for row in rows):
        points.append(dense)
    return {key: [point[key] for point in points] for key in points[0]}


def _point(row: Row, across: Across, method: str, strength: str) -> dict[str, Any] | None:
    told = quality_of(row.records.get("accuracy"))
    drop, x = row.measure(told.loss), row.measure(across.measure)
    lost, at = finite(drop.value), finite(x.value)
    if lost is None or at is None or at <= 0:
        return None
    cell, value = cells(row), row.first.parameters[strength]
    ends = {name: finite(end) for name, end in
            (("low", drop.low), ("high", drop.high), ("x_low", x.low), ("x_high", x.high))}  # fmt: skip
    return {
        "method": method,
        "said": f"{strength} = {value}",
        "x": at,
        "x_low": ends["x_low"] or at,
        "x_high": ends["x_high"] or at,
        "drop": 100 * lost,
        "low": 100 * (lost if ends["low"] is None else ends["low"]),
        "high": 100 * (lost if ends["high"] is None else ends["high"]),
        "drop_text": cell.drop,
        "x_text": cell.size if across.name == "size" else cell.speedup,
        "order": float(value),
    }


def specs(groups: Sequence[Sequence[Row]], fewest: int = FEWEST) -> dict[str, Spec]:
    """Name -> specification, `curve:size` and `curve:speed`."""
    words = words_of(record for group in groups for record in judged(group, "accuracy"))
    lines = [line for group in groups for at in dict.fromkeys(row.workload for row in group)
             for line in curves([row for row in group if row.workload == at], fewest)]  # fmt: skip
    names = list(dict.fromkeys(line.name for line in lines))
    lost = f"{words.loss} against dense, {words.unit} (less is up)"
    return {f"curve:{across.name}": _spec(across, lost, names) for across in ACROSS}


def _spec(across: Across, lost: str, names: Sequence[str]) -> Spec:
    # Seven colours and as many shapes, which after seven methods no longer go together as before.
    domain = [*names, DENSE]
    colours = [*(COLOURS[i % len(COLOURS)] for i in range(len(names))), INK]
    shapes = [*(SHAPES[(i + i // len(COLOURS)) % len(SHAPES)] for i in range(len(names))), "cross"]

    def along(field: str) -> Spec:
        scale = {"type": "log", "nice": False, "reverse": across.reverse, "padding": 14}
        axis = {"labelExpr": "format(datum.value, '~g') + '×'", "tickCount": 6, "labelOverlap": True}
        return number(field, across.title, scale=scale, axis=axis)

    def upwards(field: str) -> Spec:
        # Nearly linear around nothing lost, and the worst still in sight: a perplexity may rise a hundredfold.
        scale = {"type": "symlog", "constant": 5, "reverse": True, "nice": True}
        # Of this scale ticks by themselves lie evenly in number, all at the far end.
        text = "datum.value ? format(datum.value, abs(datum.value) < 1 ? '+~g' : '+~s') : '0'"  # 0.5 is no 500m
        axis = {"labelExpr": text, "values": TICKS, "labelOverlap": True}
        return number(field, lost, scale=scale, axis=axis)

    by_name = word("method", scale={"domain": domain, "range": colours})
    shaped = word("method", scale={"domain": domain, "range": shapes})
    said = [{"field": "method", "type": "nominal", "title": "method"}, word("said", "strength"),
            word("drop_text", "lost"), word("x_text", across.title.partition(" (")[0])]  # fmt: skip
    thin: Spec = {"type": "rule", "opacity": 0.4, "strokeWidth": 1.2}
    return spec(
        340,
        layer("points", {"type": "line", "strokeWidth": 1.8, "opacity": 0.85}, x=along("x"), y=upwards("drop"),
              color=by_name, order={"field": "order", "type": "quantitative"}),
        layer("points", thin, x=along("x"), y=upwards("low"), y2={"field": "high"}, color=by_name),
        layer("points", thin, x=along("x_low"), x2={"field": "x_high"}, y=upwards("drop"), color=by_name),
        layer("points", {"type": "point", "filled": True, "size": 80, "opacity": 1}, x=along("x"), y=upwards("drop"),
              color=by_name, shape=shaped, tooltip=said),
    )  # fmt: skip


def standalone(plot: Plot, found: Spec, *, width: int = 640, ink: str = "#1a1a1a") -> Spec:
    """The plot with its data in it, black on white, for a file of its own."""
    columns = plot.chart.data["points"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    whole = copy.deepcopy({**found, "config": {**CONFIG, "background": "white"}})
    whole |= {"width": width, "title": plot.title, "datasets": {"points": rows}, "autosize": {"type": "pad"}}
    text: Spec = json.loads(json.dumps(whole).replace(json.dumps(INK), json.dumps(ink)))
    return text
