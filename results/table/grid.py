"""A table as headings and cells, whatever it is about and whoever reads it: see `results.table.grid_text` for people,
`results.table.latex` for papers and `results.table.grid_data` for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results.store.quality import ACCURACY, qualities
from results.store.store import Run
from results.store.strict_json import ResultsError
from results.table.best import best
from results.table.cells import MISSING, examples, numbers, title
from results.table.choice import Choice, Section, check_hardware, on_hardware, sections
from results.table.columns import COLUMNS, COMPRESSOR, ONE_MACHINE, SEVERAL_MACHINES, Column, columns
from results.table.machines import Entry, Machine, entries, machines
from results.table.published import declared_on, with_published
from results.table.rows import Row, has_regressed, judged, reference_of

MARKS = "bold: the best method of its group, and every other whose interval overlaps the best one's"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell. text: a number without its unit, or words. interval: "[2.55, 2.70]". bound: "≥ 2.00". verdict: the
    word where the cell is the place to show it. best: whether to mark it. style: of the terminal, where that is not
    the verdict's. data: for programs, unrounded."""

    text: str = MISSING
    interval: str = ""
    bound: str = ""
    verdict: str = ""
    best: bool = False
    style: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Head:
    """One heading. name: for programs. title: with the unit. machine: its place, None where all machines share it.
    number: whether to align it to the right."""

    name: str
    title: str
    machine: int | None = None
    number: bool = True


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows under one title. notes: what holds for them alone. keys: what each row is of, for programs. bounds: what
    the cells' bounds say, for a format that has no room for them there."""

    title: str
    notes: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    keys: tuple[Mapping[str, Any], ...] = ()
    bounds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table. machines: the names over the blocks of columns, empty for one machine alone. notes: under the table.
    about: more for programs."""

    heads: tuple[Head, ...]
    machines: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def title(self, head: Head) -> str:
        """The heading, with its machine's name in front where there are several."""
        named = self.machines and head.machine is not None
        return f"{self.machines[head.machine or 0]}: {head.title}" if named else head.title


def grid(runs: Sequence[Run], choice: Choice, usual: Sequence[str] = ONE_MACHINE) -> Grid:
    """The table of the chosen rows and columns, a block of columns for each machine that `runs` were on.

    usual: the columns where none were chosen and there is one machine.

    Raises ResultsError for unknown names and where nothing is left to show.
    """
    return grid_of(machines(runs), choice, usual)


def grid_of(every: Sequence[Machine], choice: Choice, usual: Sequence[str] = ONE_MACHINE) -> Grid:
    """As `grid`, of machines whose records were chosen before."""
    check_hardware((record for machine in every for record in machine.cases), choice.hardware)
    with_cases = [(m, on_hardware(m.cases, choice.hardware)) for m in every]
    found = [Machine(m.name, m.runs, tuple(cases), m.notes) for m, cases in with_cases if cases]
    if not found:
        raise ResultsError("no case was recorded: there is nothing to put into a table")
    kept = sections(with_published(entries(found), list(map(declared_on, found))), choice)
    there = [row for section in kept for entry in section.entries for row in entry.on]
    chosen = columns(choice.columns or _fitting(usual if len(found) == 1 else SEVERAL_MACHINES, there))
    shown = [_without_repeats(section, chosen) for section in kept]
    chosen = _with_workload(shown, chosen if choice.columns else _measured(shown, chosen))
    heads = _heads(chosen, found)
    left_out = [m.name for m, cases in with_cases if not cases]
    notes = [note for machine in found for note in _named(machine, len(found) > 1)]
    notes += [f"nothing of the chosen hardware was recorded on {name}" for name in left_out]
    left, of = sum(row.measured for section in kept for row in section.rows), len(entries(every))
    notes += [f"{left} of {of} rows are shown"] if left < of else []
    return Grid(
        heads=tuple(heads),
        machines=tuple(machine.name for machine in found) if len(found) > 1 else (),
        blocks=tuple(_block(section, chosen, found) for section in shown),
        notes=(*notes, *_legend(chosen, reference_of(row for section in shown for row in section.rows))),
        about=_about(chosen, found),
    )


def _fitting(names: Sequence[str], rows: Sequence[Row | None]) -> list[str]:
    """The names of columns, with those of accuracy replaced by those that tell the quality of `rows`."""
    told = qualities(judged(rows, "accuracy")) or [ACCURACY]
    instead = {"accuracy": [found.value for found in told], "drop": [found.loss for found in told]}
    return [name for usual in names for name in instead.get(usual, [usual])]


def _named(machine: Machine, several: bool) -> list[str]:
    return [f"{machine.name}: {note.removeprefix('machine: ')}" if several else note for note in machine.notes]


def _heads(chosen: Sequence[Column], found: Sequence[Machine]) -> list[Head]:
    """Shared columns first, then for each machine its own."""
    shared = [c for c in (COMPRESSOR, *chosen) if not c.by_machine]
    heads = [Head(name=c.name, title=c.title, number=False) for c in shared]
    for place in range(len(found)):
        heads += [
            Head(name=c.name, title=c.title, machine=place, number=bool(c.measure or c.better))
            for c in chosen
            if c.by_machine
        ]
    return heads


def _block(section: Section, chosen: Sequence[Column], found: Sequence[Machine]) -> Block:
    shared = [c for c in (COMPRESSOR, *chosen) if not c.by_machine]
    own = [c for c in chosen if c.by_machine]
    lines: list[list[Cell]] = [[_word(c, entry.row) for c in shared] for entry in section.entries]
    there = [row for entry in section.entries for row in entry.on if row is not None]
    spoken = _spoken(own, there)
    for place in range(len(found)):
        rows = [entry.on[place] for entry in section.entries]
        for c in own:
            marks = best(rows, c)
            for index, (line, row) in enumerate(zip(lines, rows, strict=True)):
                line.append(_cell(c, row, index in marks, c.name in spoken))
    return Block(
        title=title(there, section.part),
        notes=(*_made_from(there, found), *_counts(section, own, found)),
        lines=tuple(tuple(line) for line in lines),
        keys=tuple(_key(entry, section.part) for entry in section.entries),
        bounds=tuple(_bounds(section, own, found)),
    )


def _word(c: Column, row: Row | None) -> Cell:
    found = c.read(row) if c.read and row is not None else None
    shown = MISSING if found is None else f"{found:,}" if isinstance(found, int) else found
    return Cell(text=shown, data={"value": found})


def _cell(c: Column, row: Row | None, marked: bool, spoken: bool) -> Cell:
    if c.read:
        return _word(c, row)
    if row is None:
        return Cell(data=dict.fromkeys(("value", "low", "high", "bound", "verdict")) | {"best": False})
    measure = row.measure(c.measure)
    value, interval, bound = numbers(measure, c.digits, c.scale, c.signed)
    record = row.records.get(c.judged)
    own = {part: getattr(measure, part) for part in ("value", "low", "high", "bound")}
    if bound:
        bound = f"{c.sign} {bound}"
    if spoken and record is not None and has_regressed(record):
        bound = "regressed"
    return Cell(
        text=value,
        interval=interval,
        bound=bound,
        verdict=(row.verdict(c.judged) or "") if spoken else "",
        best=marked,
        data={**own, "verdict": row.verdict(c.judged), "best": marked},
    )


def _spoken(own: Sequence[Column], rows: Sequence[Row]) -> set[str]:
    """The columns that show a verdict in `rows`, which tell quality in one way: the one that it is about, or the first
    of its record where that is not here."""
    told = next(iter(qualities(judged(rows, "accuracy"))), ACCURACY)
    about = {told.loss: 2, told.value: 1, "speedup": 1, "size_ratio": 1}
    found: dict[str, Column] = {}
    for c in own:
        if c.judged and (c.judged not in found or about.get(c.measure, 0) > about.get(found[c.judged].measure, 0)):
            found[c.judged] = c
    return {c.name for c in found.values()}


def _measured(shown: Sequence[Section], chosen: list[Column]) -> list[Column]:
    """The columns without those in which no row has a number; one that is to show a verdict stays where there is
    one. All of them where nothing would be left."""
    tables = [[row for entry in section.entries for row in entry.on if row is not None] for section in shown]
    rows = [row for table in tables for row in table]

    def is_there(c: Column) -> bool:
        told = any(row.verdict(c.judged) for table in tables if c.name in _spoken(chosen, table) for row in table)
        return not c.measure or told or any(row.measure(c.measure).value is not None for row in rows)

    return [c for c in chosen if is_there(c)] or chosen


def _without_repeats(section: Section, chosen: Sequence[Column]) -> Section:
    """One row a compressor where no column depends on the workload."""
    if any(c.of_workload for c in chosen):
        return section
    return Section(section.part, tuple({entry.row.key: entry for entry in reversed(section.entries)}.values())[::-1])


def _with_workload(shown: Sequence[Section], chosen: list[Column]) -> list[Column]:
    """The columns with the workload in front where speeds of more than one stand below each other."""
    several = any(len({row.workload for row in section.rows if row.workload}) > 1 for section in shown)
    named = any(c.name == "workload" for c in chosen)
    return (
        chosen if named or not several or not any(c.of_workload for c in chosen) else [*columns(["workload"]), *chosen]
    )


def _made_from(there: Sequence[Row], found: Sequence[Machine]) -> list[str]:
    """What a declared model was made from, for each machine where they differ."""
    said: dict[str, list[str]] = {}
    for machine in found:
        model = declared_on(machine).get(there[0].first.model)
        if model is not None and model.made_from:
            said.setdefault(model.made_from, []).append(machine.name)
    return [text if len(of) == len(found) else f"{', '.join(of)}: {text}" for text, of in said.items()]


def _counts(section: Section, own: Sequence[Column], found: Sequence[Machine]) -> list[str]:
    """How many examples and pairs the numbers rest on, and at which workload, for each machine that differs."""
    measured = {c.judged for c in own}
    said: dict[str, list[str]] = {}
    for place, machine in enumerate(found):
        rows = [row for entry in section.entries if (row := entry.on[place]) is not None]
        parts = [examples(rows)] if "accuracy" in measured else []
        if "speed" in measured:
            pairs = sorted({row.pairs for row in rows if row.pairs is not None})
            workloads = sorted({row.workload for row in rows if row.workload})
            at = f" at {workloads[0]}" if len(workloads) == 1 else ""
            if pairs:
                number = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
                parts.append(f"{number} pairs of timings{at}")
            controls = sorted({row.control for row in rows if row.control})
            parts += [f"best control: {', '.join(controls)}"] if controls else []
        if text := "; ".join(part for part in parts if part):
            said.setdefault(text, []).append(machine.name)
    if len(said) == 1:
        return list(said)
    return [f"{', '.join(names)}: {text}" for text, names in said.items()]


def _legend(chosen: Sequence[Column], held: str) -> list[str]:
    levels: dict[str, list[str]] = {}
    for c in chosen:
        if c.level:
            levels.setdefault(c.level, []).append(c.heading.partition(" (")[0])
    brackets = "; ".join(f"{level} interval of {', '.join(of)}" for level, of in levels.items())
    found = [f"in brackets: {brackets}"]
    if any(c.judged == "speed" for c in chosen):
        found.append(f"speed-ups are over {held} on the same machine")
    return [*(found if levels else found[1:]), *([MARKS] if any(c.marked for c in chosen) else [])]


def _bounds(section: Section, own: Sequence[Column], found: Sequence[Machine]) -> list[str]:
    """`bounds on size of dense, ×: ≤ 0.300 (int8, int4); ≤ 0.500 (svd)`, a line a column, or a machine where they
    differ."""
    lines: dict[str, list[str]] = {}
    for c in (c for c in own if c.measure):
        for place, machine in enumerate(found):
            by_bound: dict[str, list[str]] = {}
            for entry in section.entries:
                row = entry.on[place]
                bound = "" if row is None else numbers(row.measure(c.measure), c.digits, c.scale, c.signed)[2]
                if bound:
                    by_bound.setdefault(bound, []).append(entry.row.label)
            if by_bound:
                said = "; ".join(f"{c.sign} {b} ({', '.join(dict.fromkeys(of))})" for b, of in by_bound.items())
                lines.setdefault(f"bounds on {c.title}: {said}", []).append(machine.name)
    return [line if len(of) == len(found) else f"{line} (on {', '.join(of)})" for line, of in lines.items()]


def _key(entry: Entry, part: str) -> dict[str, Any]:
    first = entry.row.first
    names = ("model", "task", "hardware", "compressor", "family", "effect", "role")
    cases = [[r.case for r in row.records.values() if r.case] if row is not None else [] for row in entry.on]
    return {
        **{name: getattr(first, name) for name in names},
        "workload": entry.row.workload,
        "parameters": first.parameters,
        "group": part,
        "cases": list(dict.fromkeys(case for of in cases for case in of)),
        "examples": [row.examples if row is not None else None for row in entry.on],
        "pairs": [row.pairs if row is not None else None for row in entry.on],
    }


def _about(chosen: Sequence[Column], found: Sequence[Machine]) -> dict[str, Any]:
    known = {c.name: c for c in COLUMNS}
    return {
        "columns": [
            {
                "name": c.name, "measure": c.measure or None, "heading": c.heading,
                "unit": known[c.name].recorded or None, "better": c.better or None, "by_machine": c.by_machine,
            }
            for c in chosen
        ],
        "machines": [
            {
                "name": machine.name,
                "runs": [run.header.run for run in machine.runs],
                "machine": machine.runs[-1].header.machine,
            }
            for machine in found
        ],
    }  # fmt: skip
