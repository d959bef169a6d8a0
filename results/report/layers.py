"""What each layer of the model takes in the artifact, beside the dense model's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from results.report.charts import COLOURS, INK, Chart, Columns, Spec, layer, number, spec, word
from results.report.safe import mapping
from results.report.safe import number as finite
from results.store.record import CaseRecord
from results.store.text import clipped
from results.table.cells import memory

LISTED = 60
"""Layers that are told one by one before the rest is put together."""
ROW = 26
"""Pixels that a layer takes in the plot."""
_NAME = 120
MODELS = ("dense", "compressed")
Taken = tuple[float, float]
"""Bytes and parameters."""
NOTHING: Taken = (0.0, 0.0)


@dataclass(frozen=True)
class Layers:
    """rows: (layer, dense bytes, its bytes, ratio, dense parameters, its parameters), as text; the last is the sum."""

    rows: list[tuple[str, str, str, str, str, str]]
    chart: Chart


def layers(record: CaseRecord) -> Layers | None:
    """The layers of a footprint record; None where it has none, as those of older runs and of the dense model."""
    made, dense = (_known(record.evidence.get(key)) for key in ("layers", "dense_layers"))
    if not made or not dense or record.role == "dense":
        return None
    names = sorted(dense.keys() | made.keys(), key=_order)
    if rest := names[LISTED:]:
        names = [*names[:LISTED], "the others"]
        for known in (made, dense):
            known["the others"] = _together([known.pop(name, NOTHING) for name in rest])
    pairs = [(name, dense.get(name, NOTHING), made.get(name, NOTHING)) for name in names]
    total = ("all", _together(dense.values()), _together(made.values()))
    sizes = [size for _, *both in pairs for size, _ in both]
    data: Columns = {
        "layer": [name for name in names for _ in MODELS],
        "model": [*MODELS] * len(names),
        "mib": [size / 2**20 for size in sizes],
        "said": [memory(size) for size in sizes],
    }
    label = f"Bars: MiB stored for each of {len(names)} layers, dense and compressed; the table has the numbers."
    return Layers([_row(*item) for item in (*pairs, total)], Chart(f"layers:{len(names)}", label, {"layers": data}))


def specs(found: Iterable[Layers | None]) -> dict[str, Spec]:
    """Name -> specification of the bars, one for each number of layers: a plot is as high as it has bars."""
    counts = {len(one.rows) - 1 for one in found if one}
    return {f"layers:{count}": _spec(count) for count in sorted(counts)}


def _spec(count: int) -> Spec:
    colour = word("model", scale={"domain": list(MODELS), "range": [INK, COLOURS[4]]})
    return spec(
        ROW * count,
        layer(
            "layers", {"type": "bar"},
            x=number("mib", "MiB stored", axis={"tickCount": 5}),
            y=word("layer", sort=None, axis={"ticks": False, "labelLimit": 150}, scale={"paddingInner": 0.3}),
            yOffset=word("model", sort=None, scale={"domain": list(MODELS)}),
            color=colour,
            tooltip=[word("layer", "layer"), word("model", "model"), word("said", "stored")],
        ),
    )  # fmt: skip


def _known(value: object) -> dict[str, Taken]:
    """Layer -> (bytes, parameters), as far as they are finite and not negative."""
    found: dict[str, Taken] = {}
    for name, about in mapping(value).items():
        size, count = (finite(mapping(about).get(key)) for key in ("bytes", "parameters"))
        if size is not None and size >= 0:
            short = clipped(str(name), _NAME)
            before = found.get(short, NOTHING)
            found[short] = (before[0] + size, before[1] + max(0.0, count or 0.0))
    return found


def _order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """As data flows: embeddings, numbered blocks in their order, what lies beside them, what lies above them (a head),
    and last what belongs to none."""
    parts = [(int(part[:9]), "") if part.isdecimal() else (-1, part) for part in re.split(r"\.", name)]
    numbered = any(number >= 0 for number, _ in parts)
    rank = 4 if name == "other" else 1 if numbered else 0 if "embed" in name else 2 if "." in name else 3
    return rank, parts


def _together(parts: Iterable[Taken]) -> Taken:
    listed = list(parts)
    return sum(size for size, _ in listed), sum(count for _, count in listed)


def _row(name: str, dense: Taken, made: Taken) -> tuple[str, str, str, str, str, str]:
    ratio = f"{made[0] / dense[0]:.3f}×" if dense[0] else "–"
    return name, memory(dense[0]), memory(made[0]), ratio, f"{dense[1]:,.0f}", f"{made[1]:,.0f}"
