"""JSON in and out, strictly: what is written is what every JSON reader accepts, what is read is checked.

Python's own `json` writes NaN and Infinity, which are not JSON, and reads `1e999` as infinity. Here a
number that is not finite is written as null, and a line that holds one is refused.
"""

from __future__ import annotations

import json
import math
import numbers
import os
from collections.abc import Collection, Mapping
from typing import Any

Number = int | float

_REQUIRED = object()


class ResultsError(Exception):
    """What is wrong with stored results or with a request for them, told in one line."""


def plain(value: Any, key: str = "") -> Any:
    """`value` as JSON values only: tuples become lists, numpy scalars numbers, non-finite numbers None.

    key: where the value stands, for the message. Raises ResultsError for anything JSON cannot hold.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ResultsError(f"key {key!r}: its key {name!r} is not text")
        return {name: plain(item, f"{key}.{name}" if key else name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ResultsError(f"key {key!r}: a {type(value).__name__} cannot be stored as JSON")


def encode(payload: Mapping[str, Any]) -> bytes:
    """`payload`, JSON values only (see `plain`), as one line of ASCII JSON, newline included."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object on one line. Raises ResultsError that says why it is none."""
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ResultsError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ResultsError(f"not JSON at column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ResultsError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:  # from _refuse, _finite, or an integer of thousands of digits
        raise ResultsError(f"a number cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ResultsError(f"expected a JSON object, found {_kind(value)}")
    return value


class Fields:
    """A JSON object read key by key. A wrong or missing key raises ResultsError naming `where` (file
    and line) and the key; `rest` is what nobody asked for, kept so that newer files survive a copy."""

    def __init__(self, data: object, where: str, prefix: str = "") -> None:
        self._where, self._prefix = where, prefix
        if not isinstance(data, dict):
            raise self.error("", f"expected an object, found {_kind(data)}")
        self._data: dict[str, Any] = data
        self._asked: set[str] = set()

    def error(self, key: str, problem: str) -> ResultsError:
        """An error about `key`, to be raised."""
        place = f"{self._where}: " if self._where else ""
        return ResultsError(f"{place}key {(self._prefix + key).rstrip('.')!r}: {problem}")

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """The text at `key`."""
        return str(self._typed(key, default, str, "text"))

    def text_or_none(self, key: str) -> str | None:
        """The text at `key`, or None where it is null or missing."""
        value = self._typed(key, None, str, "text or null", null=True)
        return None if value is None else str(value)

    def number(self, key: str) -> Number | None:
        """The finite number at `key`, or None where it is null or missing."""
        value = self._typed(key, None, (int, float), "a number or null", null=True)
        if value is None:
            return None
        try:
            float(value)
        except OverflowError:
            raise self.error(key, "the number is too large") from None
        number: Number = value
        return number

    def count(self, key: str, default: Any = _REQUIRED) -> int:
        """The whole number at `key`, 0 or more."""
        value = self._typed(key, default, int, "a whole number")
        if value < 0:
            raise self.error(key, f"expected 0 or more, found {_shown(value)}")
        return int(value)

    def choice(self, key: str, choices: Collection[str], default: Any = _REQUIRED) -> str:
        """The text at `key`, one of `choices`."""
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"expected one of {', '.join(choices)}, found {_shown(value)}")
        return value

    def choice_or_none(self, key: str, choices: Collection[str]) -> str | None:
        """The text at `key`, one of `choices`, or None where it is null or missing."""
        return None if self.text_or_none(key) is None else self.choice(key, choices)

    def mapping(self, key: str) -> dict[str, Any]:
        """The JSON object at `key`, empty where missing."""
        return dict(self._typed(key, {}, dict, "an object"))

    def sequence(self, key: str) -> tuple[Any, ...]:
        """The JSON list at `key`, empty where missing."""
        return tuple(self._typed(key, [], list, "a list"))

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts at `key`, empty where missing."""
        items = self.sequence(key)
        for index, item in enumerate(items):
            if not isinstance(item, str):
                raise self.error(f"{key}[{index}]", f"expected text, found {_kind(item)}")
        return items

    def numbers(self, key: str) -> dict[str, Number]:
        """The object of finite numbers at `key`, empty where missing; a null in it is left out."""
        inner = Fields(self.mapping(key), self._where, f"{self._prefix}{key}.")
        found = {name: inner.number(name) for name in inner._data}
        return {name: number for name, number in found.items() if number is not None}

    def flag(self, key: str) -> bool:
        """True or false at `key`."""
        self._asked.add(key)
        value = self._data.get(key)
        if not isinstance(value, bool):
            raise self.error(key, f"expected true or false, found {_shown(value)}" if key in self._data else "missing")
        return value

    def rest(self) -> dict[str, Any]:
        """The keys that were not asked for."""
        return {key: value for key, value in self._data.items() if key not in self._asked}

    def _typed(self, key: str, default: Any, kind: Any, expected: str, null: bool = False) -> Any:
        self._asked.add(key)
        if key not in self._data:
            if default is _REQUIRED:
                raise self.error(key, "missing")
            return default
        value = self._data[key]
        if null and value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, f"expected {expected}, found {_shown(value)}")
        return value


def _refuse(token: str) -> None:
    raise ValueError(f"{token} is not JSON")


def _finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(f"{_shown(token)} is out of range")
    return number


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    """`value` for a message: on one line, short, control characters escaped."""
    if isinstance(value, dict | list | bool) or value is None:
        return _kind(value)
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
