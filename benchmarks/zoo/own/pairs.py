"""Which pairs of texts belong together: sets of pairs hold those that do not as well, with a label of 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.zoo.own.table import DataError, Table, quoted

ROLE = "match"
"""The role of a column of labels, where its name does not tell."""
USUAL = (
    "label", "labels", "match", "is_match", "is_duplicate", "score", "scores", "similarity", "similarity_score",
    "relevance", "relevant", "relatedness_score",
)  # fmt: skip
NAMED = {
    "entailment": 1, "neutral": 0, "contradiction": 0, "not_entailment": 0, "equivalent": 1, "not_equivalent": 0,
    "duplicate": 1, "not_duplicate": 0, "true": 1, "false": 0,
}  # fmt: skip
"""Labels in words, as sets of natural language inference and of paraphrases have them."""


def matches(table: Table, columns: Mapping[str, str]) -> tuple[list[int], tuple[str, ...]]:
    """The rows whose texts belong together, by a column of labels where there is one; and what to tell of it. A column
    of a usual name that holds words other than NAMED is a topic, and not read.

    Raises DataError where labels are grades, of which nobody says from where on texts belong together."""
    every = list(range(len(table.rows)))
    taken = set(columns.values())
    folded = {column.casefold(): column for column in table.columns if column not in taken}
    column = columns.get(ROLE) or next((folded[name] for name in USUAL if name in folded), None)
    if column is None:
        return every, ()
    names = table.names.get(column, ())
    values = [_value(row.get(column), names) for row in table.rows]
    if all(value is None for value in values):
        return every, (f"column {quoted(column)} is not read",)
    for index, value in enumerate(values):
        if value not in (0, 1):
            raise DataError(
                f"{table.at(index)}: column {quoted(column)} holds {quoted(table.rows[index].get(column))}: whether "
                "two texts belong together is said by 1 and 0; keep the rows that do and leave the column out, or "
                f"name another: columns: {ROLE}=NAME"
            )
    found = [index for index in every if values[index] == 1]
    if not found:
        raise DataError(f"{table.where}: column {quoted(column)} is 0 in all rows: no two texts belong together")
    left = len(every) - len(found)
    return found, (f"{left:,} pairs with 0 in column {quoted(column)} are no matches, and left out",) if left else ()


def _value(value: Any, names: Sequence[str]) -> float | None:
    """The number that a label is; None for a word that says nothing of a match, such as a topic."""
    if isinstance(value, int) and 0 <= value < len(names):
        named = _value(names[value], ())
        return float(value) if named is None and len(names) == 2 else named
    if isinstance(value, str):
        word = value.strip().casefold()
        try:
            return NAMED[word] if word in NAMED else float(word)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None
