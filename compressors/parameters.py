"""Whether values fit the parameters of a compressor: the annotations of its dataclass fields say what they take.

A value is checked as it would be read from JSON, strictly: a whole number does for a number, true and false for
neither, a list for a tuple. Nothing is converted, as ids and cache keys hold what was given. What cannot be checked
fits: an annotation that does not resolve or that pydantic does not know, a value that JSON cannot hold.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compressors.nearest import nearest

if TYPE_CHECKING:  # where no parameter is checked it need not be there
    import pydantic

SHOWN = 80
"""The most characters of a value that a message repeats."""
_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    Any: "anything",
}
_LISTS = (tuple, list, set, frozenset, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)


def check(cls: type, values: Mapping[str, Any]) -> None:
    """Raise ValueError, in one line, for the first of `values` that does not fit the field of its name. cls: a
    dataclass. A field's own default fits whatever its annotation says."""
    for field in dataclasses.fields(cls):
        if field.name not in values:
            continue
        value = values[field.name]
        if type(value) is type(field.default) and value == field.default:
            continue
        if wanted := _misfit(cls, field.name, value):
            text = json.dumps(value, ensure_ascii=False)
            given = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
            raise ValueError(f"{field.name} is {given}, must be {wanted}")


def _misfit(cls: type, name: str, value: Any) -> str | None:
    """What is wanted in place of `value`; None where it fits, or cannot be checked."""
    found = _annotation(cls, name)
    if found is None:
        return None
    import pydantic

    hint, adapter = found
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        if phrase := _phrase(hint, value):
            return phrase
        told = " ".join(error.errors(include_url=False)[0]["msg"].split())
        return f"as {cls.__name__} declares it: {told[:1].lower()}{told[1:]}"
    except Exception:  # no JSON value, or a type of a third party that fails in its own way
        return None
    return None


@functools.cache
def _annotation(cls: type, name: str) -> tuple[Any, pydantic.TypeAdapter[Any]] | None:
    """What the field is declared to be; None where that cannot be told."""
    import pydantic

    (field,) = [field for field in dataclasses.fields(cls) if field.name == name]
    holder = types.new_class("holder", exec_body=lambda space: space.update(__annotations__={name: field.type}))
    try:
        # A name means in the module of the class that declares it what it does not mean in a subclass's.
        owner = next(c for c in cls.__mro__ if name in inspect.get_annotations(c))
        scope = vars(sys.modules[owner.__module__])
        hint = typing.get_type_hints(holder, scope, dict(vars(owner)), include_extras=True)[name]
        return hint, pydantic.TypeAdapter(hint)
    except Exception:  # an import for type checkers only, a type that pydantic does not know, …
        return None


def _phrase(hint: Any, value: Any = None) -> str | None:
    """What is wanted, in words; None where there are none for it. value: what was given, for names like it."""
    for plain, words in _PLAIN.items():
        if hint is plain:
            return words
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        names = [json.dumps(part) if not isinstance(part, str) else part for part in parts]
        meant = nearest(value, names) if isinstance(value, str) else ""
        return f"one of {', '.join(names)}{meant if meant.startswith('; did') else ''}"
    if origin in (typing.Union, types.UnionType):
        either = [_phrase(part, value) for part in parts]
        return " or ".join(map(str, either)) if all(either) else None
    if hint in _LISTS or (origin in _LISTS and not parts):
        return "a list"
    if origin in _LISTS:
        several = origin is not tuple or parts[-1] is Ellipsis
        each = [_phrase(part) for part in (parts[:1] if several else parts)]
        if not all(each):
            return "a list"
        return f"a list, each {each[0]}" if several else f"a list of {len(each)}: {', '.join(map(str, each))}"
    return None
