"""Methods over the length of a text: how fast each is beside the dense model, and what memory it takes, as texts get
longer, which is the question where attention is concerned. The lengths are those of the workloads that were timed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.report.charts import COLOURS, INK, SHAPES, Chart, Spec, layer, number, spec, word
from results.report.curves import ASKED, DENSE, Across, Plot
from results.report.safe import number as finite
from results.table.cells import cells, memory, title
from results.table.rows import Row

ACROSS = Across("length", "tokens of a text", "speedup", False)
LENGTH = re.compile(r"(?:(prefill|decode|generate)-)?([1-9]\d*)x([1-9]\d*)(?:-[1-9]\d*)?")
KINDS = {"": "a forward pass", "prefill": "prefill", "decode": "decode, behind a context of so many",
         "generate": "generating, of sources of so many"}  # fmt: skip

TIMES = [*(n / 10 for n in range(1, 11)), 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100]
"""Speed-ups that may have a tick; those out of sight are left out, and labels that overlap."""


@dataclass(frozen=True)
class _Up:
    """What a plot has upwards. spec: of the chart. named: in its label. measure, unit: of the records, what one of the
    axis is in it. title, said, label: of the axis, of a tooltip, of a tick. scale: of the axis. level: where a line is
    drawn. beside: whether the dense model that was timed beside a method has points, too.
    ticks: where the axis may have them, where not everywhere."""

    spec: str
    named: str
    measure: str
    unit: float
    title: str
    said: str
    label: str
    scale: Mapping[str, Any]
    level: float | None
    beside: bool
    ticks: Sequence[float] = ()


SPEED = _Up("curve:length", "Speed", "speedup", 1.0, "speed-up over dense", "speed-up",
            "format(datum.value, '~g') + '×'", {"type": "log", "nice": False, "padding": 12}, 1.0, False,
            TIMES)  # fmt: skip
MEMORY = _Up("curve:length-memory", "Memory", "timed_memory_bytes", 2.0**20, "memory while it is timed, MiB", "memory",
             "format(datum.value, ',~g')", {"zero": True}, None, True)  # fmt: skip


def plots(groups: Sequence[Sequence[Row]]) -> list[Plot]:
    """Plots for each group of rows, kind of workload and size of batch that has methods timed at two lengths: of their
    speed, and of the memory that they and the dense model take."""
    found = []
    for group in groups:
        for up in (SPEED, MEMORY):
            points: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for row in group:
                shape = LENGTH.fullmatch(row.workload or "")
                if shape and row.first.role == "method":
                    points.setdefault((shape[1] or "", shape[2]), []).extend(_points(row, up, int(shape[3])))
            for (kind, batch), own in points.items():
                of_method: dict[str, dict[float, dict[str, Any]]] = {}
                for point in own:
                    of_method.setdefault(point["method"], {})[point["x"]] = point
                own = [point for line in of_method.values() if len(line) >= ASKED for point in line.values()]
                methods = {point["method"] for point in own} - {DENSE}
                if methods:
                    name = f"{title(group)}, {KINDS[kind]}, {batch} at a time"
                    columns = {key: [point[key] for point in own] for key in own[0]}
                    count = "1 method" if len(methods) == 1 else f"{len(methods)} methods"
                    label = f"{up.named} of {count} over length on {name}."
                    found.append(Plot(name, ACROSS, Chart(up.spec, label, {"points": columns})))
    return found


def _points(row: Row, up: _Up, tokens: int) -> Iterator[dict[str, Any]]:
    measured = row.measure(up.measure)
    value = finite(measured.value)
    if value is None or value <= 0:
        return
    at = {"x": float(tokens), "said": f"{tokens:,} tokens"}
    low, high = finite(measured.low) or value, finite(measured.high) or value
    told = memory(value) if up.beside else cells(row).speedup
    yield {
        "method": row.label,
        "y": value / up.unit,
        "low": low / up.unit,
        "high": high / up.unit,
        "y_text": told,
        **at,
    }
    if up.beside and (dense := finite(row.dense_memory)):
        size = dense / up.unit
        yield {"method": DENSE, "y": size, "low": size, "high": size, "y_text": memory(dense), **at}


def length_specs(found: Sequence[Plot]) -> Mapping[str, Spec]:
    """The specifications of the charts of these plots, by name: in each a method has the same colour and shape."""
    every = dict.fromkeys(name for one in found for name in one.chart.data["points"]["method"])
    looks = {name: (COLOURS[i % len(COLOURS)], SHAPES[(i + i // len(COLOURS)) % len(SHAPES)])
             for i, name in enumerate(every)}  # fmt: skip
    specs = {}
    for up in (SPEED, MEMORY):
        own = {name for one in found if one.chart.spec == up.spec for name in one.chart.data["points"]["method"]}
        specs[up.spec] = _spec(up, {name: look for name, look in looks.items() if name in own})
    return specs


def _spec(up: _Up, looks: Mapping[str, tuple[str, str]]) -> Spec:
    """looks: of the methods that have points, colour and shape."""
    names = list(looks)
    scale = {"domain": names, "range": [colour for colour, _ in looks.values()]}
    shapes = {"domain": names, "range": [shape for _, shape in looks.values()]}
    x = number("x", ACROSS.title, scale={"type": "log", "base": 2, "nice": False, "padding": 14},
               axis={"tickCount": 6, "labelOverlap": True, "format": ",d"})  # fmt: skip
    axis = {"labelExpr": up.label, "tickCount": 6, "labelOverlap": True, **({"values": up.ticks} if up.ticks else {})}

    def upwards(field: str) -> Spec:
        return number(field, up.title, scale=up.scale, axis=axis)

    said = [word("method", "method"), word("said", "length"), word("y_text", up.said)]
    rule: Spec = {"type": "rule", "opacity": 0.5, "strokeWidth": 1.2}
    level: Spec = {"data": {"values": [{"level": up.level}]}, "encoding": {"y": upwards("level")},
                   "mark": {"type": "rule", "strokeDash": [4, 4], "color": INK, "opacity": 0.5}}  # fmt: skip
    return spec(
        340,
        *([] if up.level is None else [level]),
        layer("points", {"type": "line", "strokeWidth": 1.8, "opacity": 0.85}, x=x, y=upwards("y"),
              color=word("method", scale=scale)),
        layer("points", rule, x=x, y=upwards("low"), y2={"field": "high"}, color=word("method", scale=scale)),
        layer("points", {"type": "point", "filled": True, "size": 80, "opacity": 1}, x=x, y=upwards("y"),
              color=word("method", scale=scale), shape=word("method", scale=shapes), tooltip=said),
    )  # fmt: skip
