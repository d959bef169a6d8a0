"""Which of a head's outputs a label in the data means. A guess here would be a wrong accuracy that looks right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.zoo.own.checkpoint import Checkpoint
from benchmarks.zoo.own.table import DataError, Table, missing, more, quoted

BY_NUMBER = "by number"
_GENERIC = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class Labels:
    """names: of the head's outputs, in order. how: by what the data's labels were matched, in a few words."""

    names: tuple[str, ...]
    how: str
    _numbers: dict[str, int]

    def number(self, value: Any) -> int | None:
        """The output that a label means; None for one that is unknown."""
        return self._numbers.get(_key(value))


def match(table: Table, column: str, model: Checkpoint, declared: Sequence[str], *, inner: bool = False) -> Labels:
    """How the labels in `column` of `table`, or those in the lists there where `inner`, name the outputs of `model`.

    By the order that the user declared; by name, whatever the case; or by number where the model has no names of its
    own or the data none. Raises DataError with the row at fault."""
    seen: dict[str, int] = {}
    values: dict[str, Any] = {}
    empty = []
    for index, row in enumerate(table.rows):
        value = row.get(column)
        for item in (value or [None]) if inner else [value]:
            if missing(item) or (isinstance(item, int) and item < 0):  # -1: a test split without labels
                empty.append(index)
            else:
                seen.setdefault(_key(item), index)
                values.setdefault(_key(item), item)
    if empty:
        raise DataError(f"{table.at(empty[0])}: no label in column {column!r}{more(len(set(empty)) - 1)}")
    size, said = len(model.labels), f"the head of {model.said}"
    given = table.names.get(column, ())
    if declared:
        if len(declared) != size:
            raise DataError(f"labels: {len(declared)} names for {size} outputs of {said}")
        found = Labels(tuple(declared), "in the order given", _by_name(declared, given))
        return _all_known(found, table, seen, values, f"labels says {_few(declared)}")
    if len(seen) > size:
        some = ", ".join(quoted(_named(values[key], given)) for key in list(seen)[:6])
        raise DataError(f"{table.where}: {len(seen)} labels in column {column!r} ({some}), {said} has {size}")
    if given and [_key(name) for name in given] == [_key(name) for name in model.labels]:
        # By place, as a name may occur twice: ImageNet has two cranes.
        return Labels(model.labels, "by name", {str(number): number for number in range(size)})
    by_name = _by_name(model.labels, given)
    if any(key in by_name for key in seen) or (given and not generic(model.labels) and not _numbers(model.labels)):
        if all(key in by_name for key in seen):
            return Labels(model.labels, "by name", by_name)
        if not any(key in by_name for key in seen):
            raise DataError(
                f"{table.where}: its labels are {', '.join(given[:8])}, those of {model.said} "
                f"{', '.join(model.labels[:8])}; say which is which: labels = the data's, in the order of the head"
            )
        return _all_known(Labels(model.labels, "", by_name), table, seen, values, f"the model has {_few(model.labels)}")
    if all(re.fullmatch(r"\d+", key) for key in seen):
        numbers = {str(number): number for number in range(size)}
        padded = {key: int(key) for key in seen if int(key) < size}  # folders are often named 007
        names = tuple(given) if len(given) == size and generic(model.labels) else model.labels
        return _all_known(
            Labels(names, BY_NUMBER, numbers | padded), table, seen, values, f"{said} has 0 to {size - 1}"
        )
    if generic(model.labels):
        raise DataError(
            f"{table.where}: its labels are {', '.join(list(seen)[:8])}, and {model.said} does not name its outputs; "
            f"say which is which: labels = {','.join(sorted(seen)[:size])} if that is the order of the head"
        )
    instead = f"the model has {_few(model.labels)}; say which is which: labels = the data's, in the order of the head"
    return _all_known(Labels(model.labels, "", by_name), table, seen, values, instead)


def _all_known(found: Labels, table: Table, seen: dict[str, int], values: dict[str, Any], instead: str) -> Labels:
    unknown = [key for key in seen if found.number(key) is None]
    if unknown:
        where = table.at(seen[unknown[0]])
        raise DataError(f"{where}: unknown label {quoted(values[unknown[0]])}{_others(unknown)}; {instead}")
    return found


def _others(unknown: list[str]) -> str:
    return f" (and {count} more label{'s' if count > 1 else ''})" if (count := len(unknown) - 1) else ""


def _by_name(names: Sequence[str], given: Sequence[str]) -> dict[str, int]:
    """Label, by name or by the number that the data set gives it -> output."""
    numbers = {_key(name): number for number, name in enumerate(names)}
    own = {str(number): numbers[_key(name)] for number, name in enumerate(given) if _key(name) in numbers}
    return own if given else numbers


def _named(value: Any, given: Sequence[str]) -> Any:
    return given[value] if isinstance(value, int) and 0 <= value < len(given) else value


def _key(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def generic(names: Sequence[str]) -> bool:
    """Whether a model names no output: transformers then calls them LABEL_0 and so on."""
    return all(_GENERIC.fullmatch(name) for name in names)


def _numbers(names: Sequence[str]) -> bool:
    return all(name.isdigit() for name in names)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
