"""What comes from records, made fit for a page: text without control characters, numbers that are finite.

Every text that reaches the page passes `shown`, and is then escaped once more by where it goes: Jinja escapes
HTML, `script_json` the data of the plots.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from results.store.text import shown

_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
DIGITS = 5
"""Significant digits of a plotted number: more cannot be seen, and make the file larger."""


def finalize(value: object) -> object:
    """What Jinja does with every value before it escapes it: `value`, with text on one line and printable."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def script_json(value: object) -> Markup:
    """`value` as JSON that may stand inside a script element: nothing in it can end the element."""
    text = json.dumps(plotted(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_IN_SCRIPT))


def plotted(value: object) -> Any:
    """`value` as a plot takes it: text printable, numbers of `DIGITS` digits, None for what is not finite."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown(str(key)): plotted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plotted(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def number(value: object) -> float | None:
    """`value` where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def numbers(value: object, most: int) -> list[float]:
    """The first `most` of a list of finite numbers above zero; empty where it is anything else."""
    found = [number(item) for item in sequence(value)[:most]]
    return [item for item in found if item is not None and item > 0] if all(x and x > 0 for x in found) else []


def sequence(value: object) -> Sequence[Any]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def mapping(value: object) -> Mapping[str, Any]:
    """`value` where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
