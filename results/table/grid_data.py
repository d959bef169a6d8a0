"""A grid for programs: CSV and JSON, with the numbers as recorded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from results.store.strict_json import plain
from results.store.text import csv_text
from results.table.grid import Block, Grid, Head

_KEYS = ("model", "task", "hardware", "workload", "group")


def grid_csv(grid: Grid) -> str:
    """One line a row: model, task, device, workload and group, where the rows have them, then each column, for a
    measure with `_low`, `_high`, `_bound`, `_verdict` (its record's) and `_best` (true or false), in the units of
    `results.store.record.Measure`. Where there are several machines a column's name begins with the machine's. Text
    that a spreadsheet would take for a formula has an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = [list(cell.data) for cell in next((line for block in grid.blocks for line in block.lines), ())]
    named, keys = (
        {head.name for head in grid.heads},
        {name for block in grid.blocks for key in block.keys for name in key},
    )
    of_row = [name for name in _KEYS if name in keys - named]
    counted = [
        (name, place)
        for name in ("examples", "pairs")
        if name in keys - named
        for place in range(max(len(grid.machines), 1))
    ]
    heads = [_prefixed(grid, head, part) for head, of in zip(grid.heads, parts, strict=False) for part in of]
    counts = [_prefixed(grid, Head(name=name, title="", machine=place), "value") for name, place in counted]
    writer.writerow([csv_text(name) for name in (*of_row, *heads, *counts)])
    for block in grid.blocks:
        for key, line in zip(block.keys, block.lines, strict=True):
            row: list[Any] = [key.get(name) for name in of_row]
            row += [value for cell in line for value in cell.data.values()]
            row += [key[name][place] for name, place in counted]
            writer.writerow([_csv(value) for value in row])
    return out.getvalue()


def grid_json(grid: Grid) -> str:
    """One JSON object; what is missing is null.

    schema    1: the version of this layout
    columns   [{name, measure, heading, unit, better, by_machine}]; unit: of the recorded numbers
    machines  [{name, runs, machine}]
    rows      [{model, task, hardware, compressor, family, effect, role, workload, parameters, group, cases, shared,
               machines}]
    shared    {column: text or number}, of the columns that are the same on all machines
    machines  of a row, one for each machine: {column: {value, low, high, bound, verdict, best}, or text or number;
              examples, pairs}
    notes     one line of text each
    """
    rows = [_object(grid, block, place) for block in grid.blocks for place in range(len(block.lines))]
    payload = {"schema": 1, **grid.about, "rows": rows, "notes": list(grid.notes)}
    return json.dumps(plain(payload), indent=2, allow_nan=False) + "\n"


def _object(grid: Grid, block: Block, place: int) -> dict[str, Any]:
    key = dict(block.keys[place])
    counts = {name: key.pop(name) for name in ("examples", "pairs")}
    shared: dict[str, Any] = {}
    machines: list[dict[str, Any]] = [
        {name: of[machine] for name, of in counts.items()} for machine in range(max(len(grid.machines), 1))
    ]
    for head, cell in zip(grid.heads, block.lines[place], strict=True):
        into = shared if head.machine is None else machines[head.machine]
        into[head.name] = _value(cell.data)
    return {**key, "shared": shared, "machines": machines}


def _value(data: Mapping[str, Any]) -> Any:
    return data["value"] if set(data) == {"value"} else dict(data)


def _prefixed(grid: Grid, head: Head, part: str) -> str:
    name = head.name if part == "value" else f"{head.name}_{part}"
    return f"{grid.machines[head.machine]}: {name}" if grid.machines and head.machine is not None else name


def _csv(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return csv_text(value) if isinstance(value, str) else value
