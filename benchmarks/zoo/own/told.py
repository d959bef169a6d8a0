"""What was understood of a declaration, told before anything is measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks.zoo.own.model import OwnModel

FEWEST = 60
"""Characters of a line that is broken at all."""


def told(model: OwnModel, width: int | None = None) -> list[str]:
    """A few lines for a person; with a width, what is longer goes on in the next one, below its own beginning."""
    found = model.understood
    read = ", ".join(f"{count:,} rows in {where}" for where, count in found["rows"].items())
    columns = ", ".join(f"{role} is {column!r}" for role, column in found["columns"].items())
    counts = f"{found['test_examples']:,} tested on, {found['training_examples']:,} to train and calibrate with"
    lines = [
        f"{model.name}: {found['task']} ({found['where']})",
        f"  model  {found['model']}: {found['architecture']}{_commit(found, 'model')}",
        f"  data   {read}; {columns}{_commit(found, 'data')}",
        f"  split  {counts}; {found['split']}",
    ]
    if "tokens" in found["settings"]:
        new = found["settings"].get("new_tokens")
        lines.append(f"  size   {found['settings']['tokens']} tokens" + (f", answers of {new}" if new else ""))
    notes = [*found["notes"], *(facts["note"] for facts in found.get("hub", {}).values() if "note" in facts)]
    lines += [f"  note   {note}" for note in notes]
    return lines if width is None else [part for line in lines for part in _broken(line, max(FEWEST, width))]


def _broken(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False)


def _commit(found: Mapping[str, Any], key: str) -> str:
    facts = found.get("hub", {}).get(key)
    return f" at commit {facts['commit']}" if facts else ""
