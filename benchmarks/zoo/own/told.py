"""What was understood of a declaration, told before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.zoo.own.model import OwnModel


def told(model: OwnModel) -> list[str]:
    """A few lines for a person."""
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
    return lines + [f"  note   {note}" for note in notes]


def _commit(found: Mapping[str, Any], key: str) -> str:
    facts = found.get("hub", {}).get(key)
    return f" at commit {facts['commit']}" if facts else ""
