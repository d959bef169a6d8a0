"""Methods over the length of a text: how fast each is beside the dense model as texts get longer, which is the question
where attention is concerned. The lengths are those of the workloads that were timed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from results.report.charts import COLOURS, INK, SHAPES, Chart, Spec, layer, number, spec, word
from results.report.curves import ASKED, Across, Plot
from results.report.safe import number as finite
from results.table.cells import cells, title
from results.table.rows import Row

ACROSS = Across("length", "tokens of a text", "speedup", False)
LENGTH = re.compile(r"(?:(prefill|decode|generate)-)?([1-9]\d*)x([1-9]\d*)(?:-[1-9]\d*)?")
KINDS = {"": "a forward pass", "prefill": "prefill", "decode": "decode, behind a context of so many",
         "generate": "generating, of sources of so many"}  # fmt: skip


def plots(groups: Sequence[Sequence[Row]]) -> list[Plot]:
    """A plot for each group of rows, kind of workload and size of batch that has methods timed at two lengths."""
    found = []
    for group in groups:
        points: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in group:
            shape = LENGTH.fullmatch(row.workload or "")
            if shape and row.first.role == "method" and (point := _point(row, int(shape[3]))):
                points.setdefault((shape[1] or "", shape[2]), []).append(point)
        for (kind, batch), own in points.items():
            of_method: dict[str, set[float]] = {}
            for point in own:
                of_method.setdefault(point["method"], set()).add(point["x"])
            own = [point for point in own if len(of_method[point["method"]]) >= ASKED]
            if own:
                name = f"{title(group)}, {KINDS[kind]}, {batch} at a time"
                columns = {key: [point[key] for point in own] for key in own[0]}
                label = f"Speed of {len({p['method'] for p in own})} methods over length on {name}."
                found.append(Plot(name, ACROSS, Chart("curve:length", label, {"points": columns})))
    return found


def _point(row: Row, tokens: int) -> dict[str, Any] | None:
    speed = row.measure("speedup")
    value = finite(speed.value)
    if value is None or value <= 0:
        return None
    low, high = finite(speed.low), finite(speed.high)
    told = {"low": low or value, "high": high or value, "said": f"{tokens:,} tokens", "y_text": cells(row).speedup}
    return {"method": row.label, "x": float(tokens), "y": value, **told}


def length_spec(found: Sequence[Plot]) -> Spec:
    """The specification of `curve:length` for these plots."""
    names = list(dict.fromkeys(name for one in found for name in one.chart.data["points"]["method"]))
    scale = {"domain": names, "range": [COLOURS[i % len(COLOURS)] for i in range(len(names))]}
    shapes = {"domain": names, "range": [SHAPES[(i + i // len(COLOURS)) % len(SHAPES)] for i in range(len(names))]}
    x = number("x", ACROSS.title, scale={"type": "log", "base": 2, "nice": False, "padding": 14},
               axis={"tickCount": 6, "labelOverlap": True, "format": ",d"})  # fmt: skip
    axis = {"labelExpr": "format(datum.value, '~g') + '×'", "tickCount": 6, "labelOverlap": True}

    def upwards(field: str) -> Spec:
        return number(field, "speed-up over dense", scale={"type": "log", "nice": True}, axis=axis)

    said = [word("method", "method"), word("said", "length"), word("y_text", "speed-up")]
    rule: Spec = {"type": "rule", "opacity": 0.5, "strokeWidth": 1.2}
    return spec(
        340,
        {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "strokeDash": [4, 4], "color": INK, "opacity": 0.5},
         "encoding": {"y": upwards("one")}},
        layer("points", {"type": "line", "strokeWidth": 1.8, "opacity": 0.85}, x=x, y=upwards("y"),
              color=word("method", scale=scale)),
        layer("points", rule, x=x, y=upwards("low"), y2={"field": "high"}, color=word("method", scale=scale)),
        layer("points", {"type": "point", "filled": True, "size": 80, "opacity": 1}, x=x, y=upwards("y"),
              color=word("method", scale=scale), shape=word("method", scale=shapes), tooltip=said),
    )  # fmt: skip
