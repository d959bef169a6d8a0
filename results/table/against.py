"""What the rows of a table are beside one of them, `--against`: lost, speed and size, each measured between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.store.quality import quality_of, words_of
from results.store.record import Measure
from results.table.cells import MISSING, numbers, verdict
from results.table.rows import Row, judged

NAMES = ("loss_against", "speedup_against", "size_against")


@dataclass(frozen=True)
class Against:
    """name: of what they are held against. lost: how the heading of the loss reads. rows: (row, lost, verdict with its
    bound, speed, size), as text."""

    name: str
    lost: str
    rows: tuple[tuple[Row, str, str, str, str], ...]

    @property
    def headings(self) -> tuple[str, str, str, str, str]:
        """Of the columns."""
        return (f"against {self.name}", f"{self.lost} (+ = loss)", "verdict", "speed over its", "size over its")


def against(group: Sequence[Row]) -> list[Against]:
    """One for each that rows of the group are held against; none where `--against` was not said."""
    found: dict[str, list[Row]] = {}
    for row in group:
        if (name := _name(row)) is not None:
            found.setdefault(name, []).append(row)
    return [
        Against(name, words_of(judged(rows, "accuracy")).lost("pts"), tuple(map(_told, rows)))
        for name, rows in found.items()
    ]


def _name(row: Row) -> str | None:
    for record in row.records.values():
        told = record.evidence.get("against")
        name = told.get("compressor") if isinstance(told, Mapping) else None
        if isinstance(name, str) and name:
            return name
    return None


def _told(row: Row) -> tuple[Row, str, str, str, str]:
    loss, speed, size = (row.measure(name) for name in NAMES)
    unit = "" if quality_of(row.records.get("accuracy")).points else " %"
    value, interval, bound = numbers(loss, 1, 100, True)
    lost = f"{value}{unit if loss.value is not None else ''} {interval}".rstrip()
    word = verdict(loss.verdict)
    return row, lost, f"{word} ≤ {bound}{unit}" if bound else word, _times(speed, 2), _times(size, 3)


def _times(measure: Measure, digits: int) -> str:
    value, interval, _ = numbers(measure, digits)
    return MISSING if measure.value is None else f"{value}× {interval}".rstrip()
