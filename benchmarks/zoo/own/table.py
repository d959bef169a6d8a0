"""Rows of a data set as they were read, with where each is from, so that a mistake can be told with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compressors.interface import PressbenchError

SHOWN = 60
"""Characters of a value that a message quotes."""


class DataError(PressbenchError):
    """A mistake in the data: file, row, and what would be right."""


@dataclass(frozen=True)
class Table:
    """where: the file, folder or split as a person would name it. columns: their names. rows: column -> value.
    names: column -> the names of its numbers, where the data set says them (a ClassLabel of `datasets`)."""

    where: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    places: Sequence[str] = ()
    """Of each row, where `row 17` would tell less than the name of a file."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read."""

    def at(self, index: int) -> str:
        """Where row `index` (from 0) is: `reviews.csv: row 17`, counted from 1 without the heading."""
        return f"{self.where}: {self.places[index] if self.places else f'row {index + 1}'}"


def quoted(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def more(count: int) -> str:
    """` (and 3 more rows)`, or nothing."""
    return f" (and {count} more row{'s' if count > 1 else ''})" if count else ""


def missing(value: Any) -> bool:
    """Whether there is nothing: None, not a number, or a text of blanks."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def flattened(table: Table) -> Table:
    """The same with a column for each field of those that hold objects, `translation.en`."""
    first = table.rows[0] if table.rows else {}
    inner = {
        f"{name}.{key}": (name, key)
        for name, value in first.items()
        if isinstance(value, Mapping) and not isinstance(value.get("bytes"), bytes)
        for key in value
    }
    if not inner:
        return table
    rows = [
        {**row, **{made: (row.get(name) or {}).get(key) for made, (name, key) in inner.items()}} for row in table.rows
    ]
    return replace(table, columns=[*table.columns, *inner], rows=rows)
