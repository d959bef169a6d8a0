"""What the commands that read many runs say of lines that could not be read."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_NAMED = 5
"""How many lines are named before the rest is only counted."""


def tell(problems: Sequence[str]) -> None:
    """Name the first of `problems`, one line each, on standard error."""
    from results.store.text import shown

    for line in problems[:_NAMED]:
        print(f"pressbench: could not be read: {shown(line)}", file=sys.stderr)
    if rest := len(problems[_NAMED:]):
        print(f"pressbench: … and {rest} more", file=sys.stderr)
