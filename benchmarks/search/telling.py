"""A search in words: a line for each trial, the front as a table, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmarks.quality.scoring import Scored
from benchmarks.search.trials import Trial, Wanted
from results.store.quality import quality_in

MOST = 20
"""Rows of the front that a terminal shows."""
HALVES = (
    "What was lost is by the half of the test examples that chose; the last column by the other half, which had no say."
)
WHOLE = "All queries are scored together: the same examples chose and judge, so that what was chosen looks too good."


def line(number: int, found: Trial, unit: str) -> str:
    """One trial. unit: "points" or "%", of what is lost."""
    if found.failed:
        return f"trial {number}: {found.recipe}: no result: {found.failed}"
    told = [] if found.size is None else [f"size {found.size:.3f}×"]
    if found.lost is not None and found.lost_high is not None:
        told.append(f"lost {100 * found.lost:+.1f} {unit}, at most {100 * found.lost_high:+.1f}")
    if found.speed is not None and found.speed_low is not None:
        told.append(f"{found.speed:.2f}×, at least {found.speed_low:.2f}×{' (unqualified)' * found.unqualified}")
    told += [f"too {word}" for name, word in TOO.items() if name in found.beyond]
    return f"trial {number}: {found.recipe}: {'; '.join(told)}"


TOO: Mapping[str, str] = {"size": "large", "quality": "much lost", "speed": "slow"}


def bounds(wanted: Wanted, unit: str) -> str:
    """What was wanted: `at most 2 points lost, size ≤ 0.1, speed ≥ 8`."""
    told = [] if wanted.within is None else [f"at most {100 * wanted.within:g} {unit} lost"]
    told += [] if wanted.size is None else [f"size ≤ {wanted.size:g}"]
    told += [] if wanted.speed is None else [f"speed ≥ {wanted.speed:g}"]
    return ", ".join(told) or "no bound"


def front_table(front: Sequence[Trial], confirmed: Mapping[str, Scored], unit: str) -> Table:
    """The trials that nothing beats, by number: `recipes` names them. confirmed: recipe -> what the other half of the
    examples says of it."""
    table = Table(box=None, pad_edge=False)
    heads = ("size", f"lost, {unit}", "≤", "speed", "≥", f"lost on the other half, {unit} [90 %]")
    for head in ("", *heads):
        table.add_column(head, justify="right")
    for number, one in enumerate(front[:MOST], 1):
        table.add_row(
            str(number),
            f"{one.size:.3f}",
            "" if one.lost is None else f"{100 * one.lost:+.1f}",
            "" if one.lost_high is None else f"{100 * one.lost_high:+.1f}",
            "" if one.speed is None else f"{one.speed:.2f}×{' ~' * one.unqualified}",
            "" if one.speed_low is None else f"{one.speed_low:.2f}×",
            _other_half(confirmed.get(one.recipe)),
        )
    return table


def recipes(front: Sequence[Trial]) -> list[str]:
    """The recipes of the front by number, a line each: in a column of a table they would take one for each word."""
    return [f"{number}: {one.recipe}" for number, one in enumerate(front[:MOST], 1)]


def _other_half(scored: Scored | None) -> str:
    if scored is None:
        return ""
    told = scored.measures[quality_in(scored.measures).loss]
    interval = "" if told.low is None or told.high is None else f" [{100 * told.low:+.1f}, {100 * told.high:+.1f}]"
    mark = {"pass": " ✓", "fail": " ✗", "inconclusive": " ?"}.get(scored.verdict, "")
    return f"{100 * (told.value or 0):+.1f}{interval}{mark}"


def use(recipe: str, model: Sequence[str]) -> str:
    """The command that measures a recipe like any other method. model: the options that name model and data."""
    return shlex.join(["pytest", "benchmarks", *model, "--compressor", recipe])


def in_zoo(recipe: str) -> str:
    """The line of a zoo file that runs it on its model."""
    quoted = recipe.replace("\\", "\\\\").replace('"', '\\"')
    return f'compressors = ["{quoted}"]'


def missed(found: Trial, wanted: Wanted, unit: str) -> str:
    """Where nothing keeps what was wanted, what came nearest and by how much it misses."""
    told = []
    if "size" in found.beyond and found.size is not None:
        told.append(f"size {found.size:.3f} (wanted ≤ {wanted.size:g})")
    if "quality" in found.beyond and found.lost_high is not None and wanted.within is not None:
        told.append(f"up to {100 * found.lost_high:.1f} {unit} lost (wanted ≤ {100 * wanted.within:g})")
    if "speed" in found.beyond and found.speed_low is not None:
        told.append(f"speed {found.speed:.2f}×, at least {found.speed_low:.2f}× (wanted ≥ {wanted.speed:g})")
    return f"no trial keeps {bounds(wanted, unit)}; nearest is {found.recipe}: {', '.join(told)}"
