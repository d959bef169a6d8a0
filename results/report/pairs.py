"""The paired samples of one speed case: seconds, ratios, and the evidence as it ran."""

from __future__ import annotations

import math
from typing import Any

from results.report import evidence
from results.report.charts import COLOURS, INK, Chart, Columns, Spec, layer, number, spec, word
from results.report.safe import number as finite
from results.report.safe import numbers, sequence
from results.store.record import CaseRecord, Measure

MOST_PAIRS = 1000
"""Drawn of one case: a run takes 200 at most, a record may claim anything."""
SIDES = ("dense", "best control", "compressed")
_FIRST = {"d": "dense", "b": "best control", "c": "compressed"}
_POWERS = [10.0**power for power in range(-3, 13)]
_LEAST_E = -3 * math.log(10)
"""ln E below which the plot does not follow: evidence that low says no more."""


def charts(record: CaseRecord) -> list[tuple[str, Chart]]:
    """(caption, plot) for the pairs of a speed record; empty where it kept no samples that can be drawn."""
    kept = record.evidence
    dense, compressed = (numbers(kept.get(key), MOST_PAIRS) for key in ("dense_seconds", "compressed_seconds"))
    if not dense or len(dense) != len(compressed):
        return []
    control = numbers(kept.get("control_seconds"), MOST_PAIRS)
    pairs = _pairs(dense, compressed, control if len(control) == len(dense) else [], sequence(kept.get("orders")))
    speedup = record.measures.get("speedup") or Measure()
    found = [
        (
            "Milliseconds a call in each slot. The models take turns, so a slow minute of the machine hits all.",
            Chart(
                "seconds",
                f"Seconds of {len(dense)} pairs of slots.",
                {"pairs": _columns(pairs, "pair", *SIDES, "first")},
            ),
        ),
        (_ratio_caption(speedup), Chart("ratios", f"Ratio of each of {len(dense)} pairs.", _ratios(pairs, speedup))),
    ]
    return [*found, *_evidence(record, dense, compressed, speedup)]


def specs() -> dict[str, Spec]:
    """Name -> specification of the three plots."""
    pair = number(
        "pair", "pair", axis={"tickMinStep": 1, "grid": False}, scale={"nice": False, "zero": False, "padding": 8}
    )
    return {"seconds": _seconds_spec(pair), "ratios": _ratios_spec(pair), "evidence": _evidence_spec(pair)}


def _pairs(dense: list[float], compressed: list[float], control: list[float], orders: Any) -> Columns:
    first = [_FIRST.get(str(order)[:1], "not recorded") for order in orders[: len(dense)]]
    columns: dict[str, list[Any]] = {
        "pair": list(range(1, len(dense) + 1)),
        "dense": [1000 * x for x in dense],
        "compressed": [1000 * x for x in compressed],
        "ratio": [d / c for d, c in zip(dense, compressed, strict=True)],
        "first": first + ["not recorded"] * (len(dense) - len(first)),
    }
    return columns | ({"best control": [1000 * x for x in control]} if control else {})


def _ratios(pairs: Columns, speedup: Measure) -> dict[str, Columns]:
    value, low, high, bound = (finite(x) for x in (speedup.value, speedup.low, speedup.high, speedup.bound))
    lines = [("target", bound), ("estimate", value)]
    kept = [(name, x) for name, x in lines if x is not None and x > 0]
    band = [(low, high)] if low and high and low > 0 else []
    return {
        "pairs": _columns(pairs, "pair", "ratio", "first"),
        "lines": {"line": [name for name, _ in kept], "at": [x for _, x in kept]},
        "band": {"low": [a for a, _ in band], "high": [b for _, b in band]},
    }


def _columns(columns: Columns, *names: str) -> Columns:
    """Of these columns those that are there: what a plot does not draw only makes the page larger."""
    return {name: columns[name] for name in names if name in columns}


def _ratio_caption(speedup: Measure) -> str:
    band = "; the band is its 98 % interval" if speedup.low and speedup.high else ""
    return f"Speed-up of each pair: dense time over compressed time. Lines: the estimate and the target{band}."


def _evidence(
    record: CaseRecord, dense: list[float], compressed: list[float], speedup: Measure
) -> list[tuple[str, Chart]]:
    target, tau = finite(speedup.bound), finite(record.evidence.get("tau")) or 0.0
    alpha = finite(record.evidence.get("alpha")) or 0.01
    if target is None:
        return []
    try:
        seen = evidence.trace(dense, compressed, target, alpha, tau)
    except ValueError:  # a bound or an allowance that no test would have taken
        return []
    decided = [at] if (at := finite(record.evidence.get("decided_at"))) else []
    sides = {f"faster than {seen.upper:.4g}×": seen.above, f"slower than {seen.lower:.4g}×": seen.below}
    columns: Columns = {
        "pair": [n for _ in sides for n in range(1, len(dense) + 1)],
        "side": [side for side, values in sides.items() for _ in values],
        "E": [math.exp(min(max(x, _LEAST_E), 690)) for values in sides.values() for x in values],
    }
    widened = f" The machine's own noise (τ = {tau:.3g}) widens the target of {target:.4g}× both ways." if tau else ""
    caption = (
        "Running evidence E of the sequential test, recomputed from these samples: the mean of two sign tests, on "
        "single pairs and on blocks of four (which speak at every fourth pair only). E starts at 1; the first side to "
        f"reach {1 / alpha:.4g} decides, and by chance alone it is reached in at most {alpha:.3g} of all runs.{widened}"
    )
    data: dict[str, Columns] = {
        "trace": columns,
        "bar": {"at": [1 / alpha], "line": [f"decides: {1 / alpha:.4g}"]},
        "decided": {"pair": decided, "line": [f"decided at pair {at:.0f}" for at in decided]},
    }
    return [(caption, Chart("evidence", f"Evidence after each of {len(dense)} pairs.", data))]


def _seconds_spec(pair: Spec) -> Spec:
    colour = {"domain": list(SIDES), "range": [INK, COLOURS[2], COLOURS[4]]}
    shape = {"domain": list(SIDES), "range": ["cross", "square", "circle"]}
    return spec(
        200,
        layer(
            "pairs", {"type": "point", "filled": True, "size": 40, "opacity": 0.85},
            [{"fold": list(SIDES), "as": ["side", "milliseconds"]}, {"filter": "isValid(datum.milliseconds)"}],
            x=pair,
            y=number("milliseconds", "ms a call", scale={"type": "log", "nice": False, "padding": 10},
                     axis={"tickCount": 4, "format": "~g"}),
            color=word("side", scale=colour), shape=word("side", scale=shape),
            tooltip=[number("pair", "pair"), word("side", "model"), number("milliseconds", "ms a call"),
                     word("first", "went first")],
        ),
    )  # fmt: skip


def _ratios_spec(pair: Spec) -> Spec:
    axis = {"labelExpr": "format(datum.value, '~g') + '×'", "tickCount": 4}
    scale = {"type": "log", "nice": False, "padding": 12}

    def up(field: str) -> Spec:
        return number(field, "speed-up", scale=scale, axis=axis)

    return spec(
        200,
        layer("band", {"type": "rect", "color": COLOURS[1], "opacity": 0.18}, y=up("low"), y2={"field": "high"}),
        layer(
            "lines", {"type": "rule", "color": INK, "strokeWidth": 1.4}, y=up("at"),
            strokeDash=word("line", scale={"domain": ["estimate", "target"], "range": [[1, 0], [6, 4]]}),
        ),
        layer(
            "pairs", {"type": "point", "filled": True, "size": 45, "color": COLOURS[4], "opacity": 0.9},
            x=pair, y=up("ratio"),
            tooltip=[number("pair", "pair"), number("ratio", "speed-up", format=".3f"), word("first", "went first")],
        ),
    )  # fmt: skip


def _evidence_spec(pair: Spec) -> Spec:
    def up(field: str) -> Spec:
        return number(field, "E", scale={"type": "log", "nice": False, "padding": 10},
                      axis={"values": _POWERS, "format": "~g"})  # fmt: skip

    colour = {"range": [COLOURS[2], COLOURS[4]]}
    return spec(
        200,
        layer("bar", {"type": "rule", "color": INK, "strokeDash": [6, 4]}, y=up("at")),
        layer("bar", {"type": "text", "align": "left", "dy": -7, "x": 4}, y=up("at"), text=word("line")),
        layer("decided", {"type": "rule", "color": INK, "opacity": 0.6}, x=pair, tooltip=word("line", "")),
        layer(
            "trace", {"type": "line", "interpolate": "linear", "point": {"size": 22, "filled": True},
                      "strokeWidth": 1.6},
            x=pair, y=up("E"), color=word("side", scale=colour, sort=None),
            strokeDash=word("side", sort=None),
            tooltip=[number("pair", "pair"), word("side", "evidence of"), number("E", "E", format=".3~g")],
        ),
    )  # fmt: skip
