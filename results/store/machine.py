"""The machine that a run was on, as its header keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.store.store import Run
from results.store.text import shown


def fingerprint_of(run: Run) -> tuple[str, Mapping[str, Any]]:
    """(hash, key) of the machine that a run was on; an empty hash where it was not kept."""
    machine = run.header.machine
    key = machine.get("key")
    return str(machine.get("hash") or ""), key if isinstance(key, Mapping) else {}


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The fields of two fingerprint keys that differ, as `libraries.torch: 2.13.0, not 2.14.0`."""
    found = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {shown(str(a))}, not {shown(str(b))}")
    return found
