"""What the header of a run says of the models that a person declared: what each was made from, and the numbers of
others that were to stand beside it.

A header may have none of it, or anything in its place: what is not of the form that is known is as if it were not
there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from results.store.record import RunHeader

_SHORT = 12
"""Digits of a commit where there is little room."""
_LISTED, _LONGEST, _NOTE = 12, 200, 1000
"""How many of a list are named, and characters of each, and of a note."""


@dataclass(frozen=True)
class Published:
    """A number from the literature, in the unit of the task's own: a share of 1, or a perplexity."""

    method: str
    value: float
    source: str


@dataclass(frozen=True)
class Declared:
    """One model. task: the kind of its task, "" where it is not known. metric: of its scores, as records call it.
    made_from: model and data on one line. facts: (what, text) of all that a person should know of it. notes: what was
    left out, cut, or not as usual, a line each."""

    name: str
    task: str = ""
    metric: str = ""
    made_from: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


def declared(header: RunHeader) -> dict[str, Declared]:
    """Name -> what is known of the model, for each that was declared."""
    models = mapping(header.extra.get("models"))
    return {name: _declared(name, found) for name, found in models.items() if isinstance(found, Mapping)}


def mapping(value: object) -> Mapping[str, Any]:
    """`value` where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def texts(value: object) -> list[str]:
    """The texts in a list; empty where it is anything else."""
    return [one for one in value if isinstance(one, str) and one] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """`value` where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """`value` where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _declared(name: str, found: Mapping[str, Any]) -> Declared:
    every = found.get("published")
    listed = every if isinstance(every, list | tuple) else ()
    hub = mapping(found.get("hub"))
    sources = [f"{what} {short}" for what in ("model", "data") if (short := _source(found, hub, what, _SHORT))]
    told = [text(mapping(facts).get("note")) for facts in hub.values()]
    return Declared(
        name=name,
        task=text(found.get("task")),
        metric=text(mapping(found.get("settings")).get("metric")),
        made_from=", ".join(sources),
        facts=tuple((what, said) for what, said in _facts(found, hub) if said),
        notes=tuple(_cut(note, _NOTE) for note in (*texts(found.get("notes")), *told) if note),
        published=tuple(one for item in listed if (one := _published(mapping(item)))),
    )


def _facts(found: Mapping[str, Any], hub: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", _source(found, hub, "model")
    yield "architecture", _cut(text(found.get("architecture")))
    yield "data", _source(found, hub, "data")
    yield "files of the data", _files(mapping(hub.get("data")))
    yield "data to test on", _source(found, hub, "test_data")
    yield "files to test on", _files(mapping(hub.get("test_data")))
    rows = [(where, number(count)) for where, count in mapping(found.get("rows")).items()]
    yield "rows", _listed(f"{count:,.0f} in {where}" for where, count in rows if count is not None)
    columns = mapping(found.get("columns")).items()
    yield "columns", _listed(f"{_cut(role)} is {column!r}" for role, column in columns if isinstance(column, str))
    yield "labels", _listed(texts(found.get("labels")))
    yield "split", "; ".join(part for part in (_counts(found), _cut(text(found.get("split")))) if part)
    tokens = number(mapping(found.get("settings")).get("tokens"))
    yield "tokens", f"{tokens:,.0f}" if tokens is not None else ""
    yield "declared in", _cut(text(found.get("where")))


def _source(found: Mapping[str, Any], hub: Mapping[str, Any], what: str, digits: int | None = None) -> str:
    """`org/name at commit abc123…`, or the folder or file that was named. digits: how many of a commit are shown."""
    facts = mapping(hub.get(what))
    name, commit = text(facts.get("name")) or text(found.get(what)), text(facts.get("commit"))
    if not name or not commit:
        return _cut(name)
    revision = text(facts.get("revision"))
    asked = f" (revision {_cut(revision)})" if digits is None and revision not in ("", "main", commit) else ""
    shown = _cut(commit) if digits is None or len(commit) <= digits else f"{commit[:digits]}…"
    return f"{_cut(name)}{asked} at commit {shown}"


def _files(facts: Mapping[str, Any]) -> str:
    by_split = mapping(facts.get("files")).items()
    return "; ".join(f"{_cut(split)}: {_listed(of)}" for split, every in by_split if (of := texts(every)))


def _counts(found: Mapping[str, Any]) -> str:
    kinds = (("test_examples", "tested on"), ("training_examples", "to train and calibrate with"))
    counted = [(number(found.get(key)), said) for key, said in kinds]
    return ", ".join(f"{count:,.0f} {said}" for count, said in counted if count is not None)


def _listed(every: Iterable[str]) -> str:
    """The first few by name, and how many more."""
    listed = list(every)
    rest = len(listed) - _LISTED
    return ", ".join([*map(_cut, listed[:_LISTED]), *([f"and {rest} more"] if rest > 0 else [])])


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _published(found: Mapping[str, Any]) -> Published | None:
    method, value, source = text(found.get("method")), number(found.get("value")), text(found.get("source"))
    return Published(method, value, source) if method and source and value is not None else None
