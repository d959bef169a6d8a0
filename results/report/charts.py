"""What all plots share: Vega-Lite specifications with the data left out, colours, shapes and how axes look.

A plot is a specification by its name and columns of data. Many plots share one specification, which the page
holds once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]
Columns = Mapping[str, Sequence[Any]]
"""Name of a column -> its values, all as long."""

INK = "currentColor"
"""The colour of the page's text, so that one plot serves the dark and the light scheme and print."""
COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
"""Okabe and Ito's palette, which people with any of the usual colour blindnesses can tell apart."""
SHAPES = ("circle", "triangle-up", "diamond", "triangle-down", "triangle-right", "triangle-left", "arrow")
"""More than colours, so that families beyond the palette still differ in one of both."""
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "tickColor", "domainColor", "gridColor"), INK),
        "gridOpacity": 0.13,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleLimit": 420,
        "labelLimit": 180,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "labelLimit": 220,
        "symbolSize": 90,
        "symbolOpacity": 1,
        "orient": "bottom",
        "title": None,
    },
    "rule": {"color": INK},
    "text": {"color": INK, "fontSize": 12},
}


@dataclass(frozen=True)
class Chart:
    """One plot. spec: the name of its specification. data: name -> columns. label: what it shows, for people who
    cannot see it."""

    spec: str
    label: str
    data: Mapping[str, Columns] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the page keeps it."""
        data = {name: {key: _packed(values) for key, values in columns.items()} for name, columns in self.data.items()}
        return {"spec": self.spec, "label": self.label, "data": data}


def _packed(values: Sequence[Any]) -> Any:
    """A column as it is, or where it repeats a few words, these words once and for each value which of them it is:
    of 200 pairs that makes a plot a third as large."""
    if not all(isinstance(value, str) for value in values):
        return values
    words = {word: i for i, word in enumerate(dict.fromkeys(values))}
    return {"words": list(words), "at": [words[value] for value in values]} if 4 * len(words) < len(values) else values


def spec(height: int | Spec, *layers: Spec, **more: Any) -> Spec:
    """A plot as wide as its place, of `layers` drawn over one another."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": list(layers),
        **more,
    }


def layer(data: str, mark: Spec, transform: Sequence[Spec] = (), **encoding: Any) -> Spec:
    """Marks over the data called `data`."""
    found: Spec = {"data": {"name": data}, "mark": mark, "encoding": encoding}
    return {**found, "transform": list(transform)} if transform else found


def number(name: str, title: str | None, **more: Any) -> Spec:
    """A channel that shows the numbers in a column."""
    return {"field": name, "type": "quantitative", "title": title, **more}


def word(name: str, title: str | None = None, **more: Any) -> Spec:
    """A channel that shows the words in a column."""
    return {"field": name, "type": "nominal", "title": title, **more}


def families(found: Sequence[str]) -> tuple[Spec, Spec]:
    """(scale of colours, scale of shapes) for families of methods: the references in the page's own ink."""
    references = [name for name in ("dense", "control") if name in found]
    methods = sorted(set(found) - set(references))
    domain = [*references, *methods]
    marks = {"dense": "cross", "control": "square"}
    colours = [INK] * len(references) + [COLOURS[i % len(COLOURS)] for i in range(len(methods))]
    shapes = [marks[name] for name in references] + [SHAPES[i % len(SHAPES)] for i in range(len(methods))]
    return {"domain": domain, "range": colours}, {"domain": domain, "range": shapes}
