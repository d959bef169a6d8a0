"""What every table in a terminal is drawn with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.text import Text

from results.store.text import ascii_only, shown

STYLES = {
    "pass": "green",
    "fail": "bold red",
    "error": "bold magenta",
    "inconclusive": "yellow",
    "unqualified": "yellow",
    "unsupported": "dim",
    "measured": "",
}
"""Verdict -> style."""

Line = tuple[str, str]
"""A line of a cell and its style."""


class Pen:
    """Makes rich texts of plain ones: never markup, never a control character."""

    def __init__(self, ascii: bool) -> None:
        self._ascii = ascii

    def text(self, plain: str, style: str = "") -> Text:
        """One line."""
        clean = shown(plain)
        return Text(ascii_only(clean) if self._ascii else clean, style)

    def lines(self, lines: Sequence[Line]) -> Text:
        """Lines below each other."""
        return Text("\n").join(self.text(plain.rstrip(), style) for plain, style in lines)


def at_hyphens(name: str, width: int) -> list[str]:
    """The name in lines of `width` at most, broken after hyphens and spaces; a part that is longer is left to be
    folded."""
    lines = [""]
    for part in re.findall(r"[^- ]*[- ]|[^- ]+", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]
