"""The options that a run was given, as its header keeps them, and as a command gives them again."""

from __future__ import annotations

import math
from collections.abc import Iterable

from results.store.record import RunHeader

_LISTS = ("model", "compressor", "hardware", "set", "within")
_FLAGS = ("allow-pickle",)
_USUAL = {
    **dict.fromkeys(("data", "task", "test-data", "zoo")),
    "tier": "quick",
    "seed": 0,
    "tau": None,
}
KEPT = (*_LISTS, *_FLAGS, *_USUAL)
"""The options that a header keeps, without their dashes; files of targets are known there by their hash alone."""


def words(header: RunHeader) -> list[str]:
    """`--model`, `reviews`, …: the options that are not as usual, unquoted. A header may hold anything: what is no
    option is left out."""
    found: list[str] = []
    for name in _LISTS:
        given = header.options.get(name)
        values: Iterable[object] = given if isinstance(given, list | tuple) else ()
        found += [word for value in values if isinstance(value, str) for word in (f"--{name}", value)]
    found += [f"--{name}" for name in _FLAGS if header.options.get(name) is True]
    for name, usual in _USUAL.items():
        value = header.options.get(name, usual)
        if value != usual and _sayable(value):
            found += [f"--{name}", str(value)]
    return found


def _sayable(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    )
