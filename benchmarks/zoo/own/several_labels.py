"""The labels of rows that may have several or none: a column of 0 and 1 for each label, or one column of lists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.zoo.own import labels
from benchmarks.zoo.own.checkpoint import Checkpoint
from benchmarks.zoo.own.columns import USUAL as BY_ROLE
from benchmarks.zoo.own.table import DataError, Table, missing, quoted

TASK = "multi-label-classification"
PROBLEM = "multi_label_classification"
"""What config.json calls it."""
ROLE = "label"
USUAL = ("labels", "label", "tags", "classes", "categories", "topics")
"""Names of a column of lists."""
LABEL = BY_ROLE["label"]
WORDS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
SEPARATORS = re.compile(r"[,;|]")


@dataclass(frozen=True)
class Several:
    """names: of the head's outputs, in order. how: where the labels are from, in a few words. marks: of each row 0 or 1
    for each output."""

    names: tuple[str, ...]
    how: str
    marks: list[list[int]]


def find(table: Table, columns: Mapping[str, str], model: Checkpoint, declared: Sequence[str]) -> Several:
    """The labels of every row, in the order of the head's outputs. declared: the data's names of them, in that order.

    Raises DataError where neither form is there, a label is unknown, or a value is neither 0 nor 1."""
    names = tuple(declared or model.labels)
    if len(names) != len(model.labels):
        raise DataError(f"labels: {len(names)} names for {len(model.labels)} outputs of the head of {model.said}")
    if ROLE in columns:
        return _from_lists(table, columns[ROLE], model, declared)
    folded = own_columns(table, columns)
    there = [name for name in names if _key(name) in folded]
    if len(there) == len(names):
        return Several(names, "a column each", _from_columns(table, [folded[_key(name)] for name in names]))
    if there:
        absent = ", ".join(name for name in names if name not in there)
        raise DataError(f"{table.where}: no column for {absent}, beside {', '.join(there)}; {wanted(names)}")
    column = next((folded[name] for name in USUAL if name in folded), None)
    if column is None:
        have = ", ".join(table.columns) or "none"
        raise DataError(f"{table.where}: which columns are the labels? It has {have}; {wanted(names)}")
    return _from_lists(table, column, model, declared)


def own_columns(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Folded name -> column, of those that play no other role."""
    return {_key(column): column for column in reversed(table.columns) if column not in columns.values()}


def wanted(names: Sequence[str]) -> str:
    """What would be right, for a message."""
    few = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"wanted are columns of 0 and 1 called {few}, or one column `labels` with a list of these in each row"


def mark(value: Any) -> int | None:
    """1 or 0 for a value that says so, else None."""
    return None if missing(value) else WORDS.get(str(value).strip().casefold())


def items(value: Any) -> list[Any]:
    """The labels that a value names: a list, a JSON list in a string, or names between `,`, `;` or `|`."""
    if isinstance(value, str):
        if value.strip().startswith("["):
            found = json.loads(value)
            return list(found) if isinstance(found, list) else [found]
        return [part.strip() for part in SEPARATORS.split(value) if part.strip()]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return list(value)
    return [] if missing(value) else [value]


def _from_columns(table: Table, columns: Sequence[str]) -> list[list[int]]:
    marks = []
    for index, row in enumerate(table.rows):
        found = [mark(row.get(column)) for column in columns]
        if None in found:
            column = columns[found.index(None)]
            value = "nothing" if missing(row.get(column)) else quoted(row[column])
            raise DataError(
                f"{table.at(index)}: column {column!r} holds {value}: a label's column has 0 or 1 in each row"
            )
        marks.append([one for one in found if one is not None])
    return marks


def _from_lists(table: Table, column: str, model: Checkpoint, declared: Sequence[str]) -> Several:
    names = tuple(declared or model.labels)
    known = {_key(name) for name in names}
    given: list[list[Any]] = []
    for index, row in enumerate(table.rows):
        value = row.get(column)
        if isinstance(value, str) and _key(value) in known:  # a name may have a comma in it
            given.append([value.strip()])
            continue
        try:
            given.append(items(value))
        except ValueError:
            raise DataError(f"{table.at(index)}: column {column!r} holds {quoted(value)}, no JSON list") from None
    filled = [index for index, found in enumerate(given) if found]
    if not filled:
        raise DataError(f"{table.where}: no row has a label in column {column!r}; {wanted(names)}")
    alone = all(not isinstance(table.rows[i].get(column), list | tuple) and _numbers(given[i]) == 1 for i in filled)
    if alone and not any(_key(given[i][0]) in known for i in filled):
        raise DataError(
            f"{table.where}: column {column!r} holds one number a row, such as {quoted(given[filled[0]][0])}, which "
            f"may be a label's or mean yes and no; {wanted(names)}"
        )
    if len(names) > 1 and all(len(found) == len(names) and None not in map(mark, found) for found in given):
        raise DataError(
            f"{table.where}: column {column!r} holds a 0 or 1 for each label, no list of them; {wanted(names)}"
        )
    by_name = column not in table.names and any(_key(one) in known for found in given for one in found)
    for index, several in enumerate(given):
        if by_name and (unknown := [one for one in several if _key(one) not in known]):
            have = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise DataError(f"{table.at(index)}: unknown label {quoted(unknown[0])}; the model has {have}")
    part = Table(
        table.where, table.columns, [{column: given[i]} for i in filled], table.names,
        [table.places[i] if table.places else f"row {i + 1}" for i in filled],
    )  # fmt: skip
    found = labels.match(part, column, model, declared, inner=True)
    marks = []
    for index, several in enumerate(given):
        numbers = [found.number(one) for one in several]
        if twice := [one for place, one in enumerate(several) if numbers[place] in numbers[:place]]:
            raise DataError(f"{table.at(index)}: label {quoted(twice[0])} stands twice in column {column!r}")
        marks.append([int(number in numbers) for number in range(len(names))])
    return Several(found.names, found.how, marks)


def _numbers(found: Sequence[Any]) -> int:
    """How many values there are, where all are numbers; else 0."""
    return len(found) if all(re.fullmatch(r"-?\d+(\.0)?", str(one)) for one in found) else 0


def _key(value: Any) -> str:
    return str(value).strip().casefold()


def seen(table: Table, model: Checkpoint, named: str | None) -> str | None:
    """How rows of `table` have several labels of `model`, in a few words with the place; None where they do not. named:
    the column that the user says is the label."""
    folded = own_columns(table, {})
    names = {_key(name) for name in model.labels}
    column = named or next((folded[name] for name in LABEL if name in folded), None)
    if column is None:
        alike = len(names) > 1 and names <= folded.keys()
        if alike and all(mark(row.get(folded[name])) is not None for row in table.rows for name in names):
            return f"{table.where}: a column of 0 and 1 for each of {', '.join(model.labels[:8])}"
        return None
    for index, row in enumerate(table.rows):
        value = row.get(column)
        if isinstance(value, list | tuple) and len(value) != 1:
            return f"{table.at(index)}: {len(value)} labels in column {column!r}"
        if isinstance(value, str) and _key(value) not in names:
            parts = SEPARATORS.split(value)
            if len(parts) > 1 and {_key(part) for part in parts} <= names:
                return f"{table.at(index)}: {len(parts)} labels in column {column!r}"
    return None
