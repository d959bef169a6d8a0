"""What the header of a run says of the models that a person declared: what each was made from, and the numbers of
others that were to stand beside it.

A header may have none of it, or anything in its place: what is not of the form that is known is as if it were not
there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.record import RunHeader


@dataclass(frozen=True)
class Published:
    """A number from the literature, in the unit of the task's own: a share of 1, or a perplexity."""

    method: str
    value: float
    source: str


@dataclass(frozen=True)
class Declared:
    """One model. task: the kind of its task, "" where it is not known. metric: of its scores, as records call it."""

    name: str
    task: str = ""
    metric: str = ""
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
    return Declared(
        name=name,
        task=text(found.get("task")),
        metric=text(mapping(found.get("settings")).get("metric")),
        published=tuple(one for item in listed if (one := _published(mapping(item)))),
    )


def _published(found: Mapping[str, Any]) -> Published | None:
    method, value, source = text(found.get("method")), number(found.get("value")), text(found.get("source"))
    return Published(method, value, source) if method and source and value is not None else None
