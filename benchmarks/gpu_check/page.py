"""What is kept: gpu_check.json with every number, and gpu_check.md, a page for the docs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.check import Number, Result

JSON, PAGE = "gpu_check.json", "gpu_check.md"
SCALES = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "bytes": ((2**30, "GiB"), (2**20, "MiB"), (1.0, "bytes"))}


def write(folder: Path, machine: Mapping[str, Any], results: Sequence[Result]) -> None:
    """Write both anew: `folder` holds what was found so far, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {**machine, "counts": counts(results), "checks": [one.to_json() for one in results]}
    text = json.dumps(_finite(data), indent=1, ensure_ascii=False, default=str, allow_nan=False)
    (folder / JSON).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(machine, results), encoding="utf-8")


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many held, failed and were not here."""
    found = Counter(one.kind for one in results)
    return {"held": found["held"], "failed": found["failed"], "not here": found["not here"]}


def page(machine: Mapping[str, Any], results: Sequence[Result]) -> str:
    """The page: what was checked where, what failed, what was not here, and every number."""
    told = ", ".join(f"{count} {kind}" for kind, count in counts(results).items())
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items() if version)
    lines = [
        "# The suite on a GPU",
        "",
        "Written by `python -m benchmarks.gpu_check`; models have random weights.",
        "",
        f"{machine.get('name', 'unknown')}, {machine.get('hardware_class', 'unknown')}; {versions}; "
        f"{machine.get('time', '')}; {'tiny shapes' if machine.get('small') else 'full shapes'}.",
        "",
        f"{len(results)} checks: {told}.",
        "",
        "| check | what it asks | | s | why |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {_cell(one.name)} | {_cell(one.asks)} | {one.kind} | {one.seconds:.1f} | {_cell(one.reason)} |"
        for one in results
    ]  # fmt: skip
    for heading, kind in (("Failed", "failed"), ("Not here", "not here")):
        if found := [one for one in results if one.kind == kind]:
            lines += ["", f"## {heading}", "", *(f"- {one.name}: {one.reason}" for one in found)]
    lines += ["", "## Numbers"]
    for one in results:
        if one.numbers:
            lines += ["", f"### {one.name}", "", "| | |", "|---|---|"]
            lines += [f"| {_cell(number.name)} | {_cell(shown(number))} |" for number in one.numbers]
    return "\n".join(lines) + "\n"


def shown(number: Number) -> str:
    """A number as a person reads it: 0.00123 s is 1.23 ms."""
    value, unit = number.value, number.unit
    if value is None:
        return "not known"
    if isinstance(value, str):
        return f"{value} {unit}".strip()
    for scale, name in SCALES.get(unit, ()):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {name}"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{text} {unit}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _finite(value: Any) -> Any:
    """With None for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
