"""Each case by itself: its numbers and verdicts, its plots, what was made, and how to run it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.report import pairs, trends
from results.report.charts import Chart
from results.report.flips import Flips, flips
from results.report.layers import Layers, layers
from results.report.safe import mapping, sequence
from results.report.safe import number as finite
from results.store.quality import words_of
from results.store.record import MEASURE_NAMES, CaseRecord, RunHeader
from results.store.reproduction import Again, anywhere
from results.table.cells import ALL_CACHED, SYMBOLS, Cells, cells, memory, seconds
from results.table.columns import COLUMNS, Column
from results.table.rows import Row

MOST_FILES = 30
_COUNTED = {"parameters": "weights", "nonzero_parameters": "weights that are not zero"}


@dataclass(frozen=True)
class Judged:
    """One record: verdict and its symbol, the numbers as text, why, and what came of the comparison."""

    record: CaseRecord
    symbol: str
    numbers: Sequence[tuple[str, str]]
    bound: str
    outcome: str
    comparison: str
    again: Again
    charts: Sequence[tuple[str, Chart]]
    detail: Sequence[str]


MORE = (
    "agreement", "worst-class", "ece", "confidence", "repetition", "length-ratio", "first-answer", "operations",
    "weight-bytes",
)  # fmt: skip
"""Columns that a case tells beside its headline."""


@dataclass(frozen=True)
class Section:
    """One compressor on one model and device, at all its workloads.

    anchor: its id in the page. place: model, task and device. sizes: (what, how much). files: (name, size, SHA-256).
    """

    anchor: str
    title: str
    place: str
    rows: Sequence[Row]
    judged: Sequence[Judged]
    flips: Flips | None
    recipe: Sequence[tuple[str, Sequence[tuple[str, str]], str]]
    sizes: Sequence[tuple[str, str]]
    layers: Layers | None
    files: Sequence[tuple[str, str, str]]
    witness: Sequence[str]
    artifact: str
    fingerprint: str

    @property
    def first(self) -> CaseRecord:
        """For what its records share."""
        return self.rows[0].first


def sections(found: Sequence[Row], header: RunHeader, history: trends.History) -> list[Section]:
    """A section for all rows of one compressor, in the order of the table."""
    together: dict[tuple[tuple[str, str, str], str], list[Row]] = {}
    for row in found:
        together.setdefault((row.group, row.label), []).append(row)
    return [_section(f"case-{number}", rows, header, history) for number, rows in enumerate(together.values(), 1)]


def _section(anchor: str, rows: Sequence[Row], header: RunHeader, history: trends.History) -> Section:
    judged: dict[int, Judged] = {}
    for row in rows:
        cell = cells(row)
        for record in row.records.values():
            judged.setdefault(id(record), _judged(record, cell, header, history))
    by_measure = {one.record.measure: one.record for one in judged.values()}
    footprint, accuracy = by_measure.get("footprint"), by_measure.get("accuracy")
    first = rows[0].first
    prints = dict.fromkeys(one.record.fingerprint for one in judged.values() if one.record.fingerprint)
    made = dict.fromkeys(one.record.artifact for one in judged.values() if one.record.artifact)
    measures = tuple(MEASURE_NAMES)
    return Section(
        anchor=anchor,
        title=rows[0].label,
        place=", ".join(part for part in (first.model, first.task, first.hardware, first.hardware_class) if part),
        rows=rows,
        judged=sorted(judged.values(), key=lambda one: measures.index(one.record.measure)),
        flips=flips(accuracy) if accuracy else None,
        recipe=_recipe(next((r for r in by_measure.values() if r.recipe), first)),
        sizes=_sizes(footprint) if footprint else [],
        layers=layers(footprint) if footprint else None,
        files=_files(footprint) if footprint else [],
        witness=[str(line) for line in sequence(footprint.evidence.get("witness"))] if footprint else [],
        artifact=", ".join(made),
        fingerprint=", ".join(prints),
    )


def _judged(record: CaseRecord, cell: Cells, header: RunHeader, history: trends.History) -> Judged:
    words = words_of([record])
    numbers = {
        "accuracy": [(words.value, cell.accuracy), (f"{words.lost()} (+ is a loss)", cell.drop)],
        "speed": [("speed-up over dense", f"{cell.speedup} {cell.pairs}".strip()),
                  ("over the best control", cell.over_control)],
        "footprint": [("size over dense", cell.size), ("peak memory", cell.memory),
                      ("time to compress", _compress(cell))],
    }  # fmt: skip
    outcome = record.comparison.get("outcome")
    return Judged(
        record=record,
        symbol=SYMBOLS[record.verdict],
        numbers=[*numbers[record.measure], *_more(record)],
        bound=cell.bounds[record.measure],
        outcome=outcome if isinstance(outcome, str) else "",
        comparison=str(record.comparison.get("reason") or ""),
        again=anywhere(header, [record]),
        charts=(pairs.charts(record) if record.measure == "speed" else [])
        + trends.charts(history, record.measure, record.case),
        detail=str(record.evidence.get("detail") or "").splitlines(),
    )


def _compress(cell: Cells) -> str:
    if cell.cached == ALL_CACHED:
        return f"{cell.cached}, built in {cell.compress}"
    return f"{cell.compress}, {cell.cached}" if cell.cached else cell.compress


def _more(record: CaseRecord) -> list[tuple[str, str]]:
    """What is told beside the headline, as the columns of a table have it: (what, how much)."""
    found = []
    for column in COLUMNS:
        if column.name not in MORE or (measure := record.measures.get(column.measure)) is None:
            continue
        ends = [finite(end) for end in (measure.value, measure.low, measure.high)]
        told = [_plain(end * column.scale, column) for end in ends if end is not None]
        if told:
            interval = f" [{', '.join(told[1:])}]" if len(told) == 3 else ""
            found.append((column.heading, f"{told[0]}{interval} {column.unit}".strip()))
    return found


def _plain(value: float, column: Column) -> str:
    sign = "+" if column.signed else ""
    return f"{value:{sign}.3g}" if column.digits is None else f"{value:{sign}.{column.digits}f}"


def _recipe(record: CaseRecord) -> list[tuple[str, list[tuple[str, str]], str]]:
    """(step, its parameters, seconds) of each step."""
    found = []
    for step in record.recipe:
        known = mapping(step)
        parameters = [(str(k), json.dumps(v, ensure_ascii=False)) for k, v in mapping(known.get("parameters")).items()]
        took = finite(known.get("seconds"))
        found.append((str(known.get("compressor") or "?"), parameters, "" if took is None else seconds(took)))
    return found


def _sizes(record: CaseRecord) -> list[tuple[str, str]]:
    found = [("on disk", memory(_of(record, "disk_bytes"))), ("peak memory", memory(_of(record, "peak_memory_bytes")))]
    for name, said in _COUNTED.items():
        if (count := _of(record, name)) is not None:
            found.append((said, f"{count:,.0f}"))
    if (bits := _of(record, "bits_per_weight")) is not None:
        found.append(("bits a weight, on disk", f"{bits:.3g}"))
    for key, said in (("dtypes", "weights stored as"), ("operators", "operators")):
        counts = {str(name): finite(count) for name, count in mapping(record.evidence.get(key)).items()}
        if listed := ", ".join(f"{name} {count:,.0f}" for name, count in counts.items() if count is not None):
            found.append((said, listed))
    return [(said, text) for said, text in found if text]


def _of(record: CaseRecord, name: str) -> float | None:
    return finite(record.measures[name].value) if name in record.measures else None


def _files(record: CaseRecord) -> list[tuple[str, str, str]]:
    files: Mapping[str, object] = mapping(record.evidence.get("files"))
    every = [(str(name), mapping(about)) for name, about in files.items()]
    every.sort(key=lambda item: -(finite(item[1].get("bytes")) or 0))
    return [
        (name, memory(finite(about.get("bytes"))), str(about.get("sha256") or "")) for name, about in every[:MOST_FILES]
    ]
