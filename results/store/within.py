"""What a whole run may lose of quality, as `--within` says it: `1pt`, points of a score, or `5%`, of the dense model's
perplexity."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from results.store.quality import Quality
from results.store.record import RunHeader

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(pts?|points?|%)")


def parse(text: str) -> tuple[bool, float] | None:
    """Whether it is in points, and the bound as a fraction: `1pt` is 0.01 of a score, `5%` 0.05 of a perplexity.
    None where it is neither, nothing, or all of a score."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    points, bound = found[2] != "%", float(found[1]) / 100
    return (points, bound) if 0 < bound < (1 if points else math.inf) else None


def within(header: RunHeader, told: Quality) -> float | None:
    """The bound that the run was given for what is told so; None where it was given none."""
    given = header.options.get("within")
    texts: Iterable[object] = given if isinstance(given, list | tuple) else ()
    found = (parse(text) for text in texts if isinstance(text, str))
    return next((one[1] for one in found if one and one[0] == told.points), None)


def in_words(points: bool, bound: float) -> str:
    """`1 point`, `2.5 points`, `5 %`."""
    number = f"{100 * bound:.10g}"
    return f"{number} {'point' if number == '1' else 'points'}" if points else f"{number} %"
