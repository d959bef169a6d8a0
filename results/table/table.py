"""A run's table: for the terminal here, for pages and programs in `results.table.export`.

The terminal table never cuts a number, and a bound stands at its verdict. It takes the first of five layouts that the
console holds: a column for each thing (about 125 wide), four columns of three-line cells with the bounds in the
verdicts' lines (100, or 80 where names are folded earlier) or below them, and one column for consoles narrower still.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from results.store.quality import Words, words_of
from results.store.store import Run
from results.store.strict_json import ResultsError
from results.store.text import shown
from results.table.against import Against
from results.table.against import against as held_against
from results.table.best import best_measures
from results.table.cells import (
    ALL_CACHED,
    MISSING,
    Cells,
    cells,
    circumstances,
    headline,
    made_from,
    missing,
    problems,
    references,
    time_needed,
    time_spent,
    title,
    verdict,
)
from results.table.choice import ALL, Choice, Section, sections_of, summary_of
from results.table.columns import PAPER
from results.table.export import to_csv, to_json, to_markdown
from results.table.grid import grid
from results.table.latex import grid_latex
from results.table.pen import STYLES, Line, Pen, at_hyphens
from results.table.rows import Row, judged, rows

__all__ = ["FORMATS", "print_terminal", "render", "rows"]

_EXPORTS: Mapping[str, Callable[[Run, Choice], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": lambda run, choice: grid_latex(grid([run], choice, PAPER)),
}
FORMATS = ("terminal", *_EXPORTS)
Best = Callable[[str], str]
"""The style of a measure of the row that is drawn: "bold" where it is among the best."""


def render(run: Run, format: str, console: Console | None = None, choice: Choice = ALL) -> str:
    """The run's table as text in one of `FORMATS`.

    console: for "terminal", what to draw for (its width, colours and encoding); without one, plain text
    as wide as the terminal. choice: which rows, and how they stand; its columns count in LaTeX alone. Raises
    ResultsError for another format, and for a name that is not known.
    """
    if format in _EXPORTS:
        return _EXPORTS[format](run, choice)
    if format != "terminal":
        raise ResultsError(f"no format {shown(format)!r}: use one of {', '.join(FORMATS)}")
    if console is None:
        file = io.StringIO()
        width = shutil.get_terminal_size((100, 24)).columns
        console = Console(file=file, width=width, color_system=None)
        print_terminal(run, console, choice)
        return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
    with console.capture() as capture:
        print_terminal(run, console, choice)
    return capture.get()


def print_terminal(run: Run, console: Console, choice: Choice = ALL) -> None:
    """Print the run's tables and summary on `console`."""
    pen = Pen(ascii=console.options.ascii_only)
    groups = sections_of(run, choice)
    for group, table in zip(groups, _tables(pen, groups, console), strict=True):
        console.print(pen.text(title(group.rows, group.part), "bold"))
        notes = (circumstances(run.header), references(group.rows), made_from(run.header, group.rows))
        for note in filter(None, notes):
            console.print(pen.text(note, "dim"))
        console.print(table)
        for found in held_against(group.rows):
            console.print()
            console.print(_against(pen, found))
        console.print()
    if not groups:
        console.print(pen.text(circumstances(run.header), "dim"))
        console.print(pen.text("no case was recorded"))
    _print_summary(pen, run, groups, console)


def _against(pen: Pen, found: Against) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in found.headings:
        table.add_column(pen.text(heading), overflow="fold")
    for row, *told in found.rows:
        table.add_row(*map(pen.text, [", ".join(filter(None, (row.label, row.workload))), *told]))
    return table


def _verdict(row: Row, measure: str, bound: str = "") -> Line:
    word = row.verdict(measure)
    return f"{verdict(word)}  {bound}".rstrip(), STYLES[word] if word else "dim"


def _compress(cell: Cells) -> Line:
    return (f"{cell.compress}, cached" if cell.cached == ALL_CACHED else cell.compress), ""


def _wide(row: Row, cell: Cells, best: Best, words: Words) -> list[list[Line]]:
    def told(measure: str) -> list[Line]:
        return [_verdict(row, measure), (cell.bounds[measure], "dim")]

    return [
        _identity(row),
        [(cell.accuracy, best("accuracy")), (cell.drop, best("accuracy_drop"))],
        told("accuracy"),
        [
            (f"{cell.speedup} {cell.pairs}", best("speedup")),
            (cell.over_control, best("speedup_vs_control")),
            (cell.floor, ""),
        ],
        told("speed"),
        [(cell.size, best("size_ratio")), (cell.kept, "dim")],
        told("footprint"),
        [(cell.memory, ""), _compress(cell)],
    ]


def _medium(row: Row, cell: Cells, best: Best, words: Words) -> list[list[Line]]:
    accuracy, speed, footprint = (_verdict(row, measure, bound) for measure, bound in cell.bounds.items())
    return [
        [*_identity(row), _compress(cell)],
        [(cell.accuracy, best("accuracy")), (cell.drop, best("accuracy_drop")), accuracy],
        [
            (f"{cell.speedup} {cell.pairs}", best("speedup")),
            (cell.over_control, best("speedup_vs_control")),
            (cell.floor, ""),
            speed,
        ],
        [(cell.size, best("size_ratio")), (cell.kept, "dim"), (cell.memory, ""), footprint],
    ]


def _narrow(row: Row, cell: Cells, best: Best, words: Words, below: bool = False) -> list[list[Line]]:
    """below: whether bounds stand below their verdicts, for want of room beside them."""

    def told(measure: str, beside: str = "") -> list[Line]:
        """The verdict, then what stands in the next line: its bound, or what is left of the room."""
        bound = cell.bounds[measure]
        if below:
            return [_verdict(row, measure, beside), (bound, "dim")]
        word, style = _verdict(row, measure)
        return [(f"{word} {bound}".rstrip(), style), (beside, "")]

    return [
        [*_identity(row), _compress(cell)],
        [(cell.accuracy, best("accuracy")), (cell.drop, best("accuracy_drop")), *told("accuracy")],
        [
            (cell.speedup, best("speedup")),
            (cell.over_control, best("speedup_vs_control")),
            (cell.floor, ""),
            *told("speed", cell.pairs),
        ],
        [(cell.size, best("size_ratio")), (cell.kept, "dim"), (cell.memory, ""), *told("footprint")],
    ]


def _narrowest(row: Row, cell: Cells, best: Best, words: Words) -> list[list[Line]]:
    return _narrow(row, cell, best, words, below=True)


def _stacked(row: Row, cell: Cells, best: Best, words: Words) -> list[list[Line]]:
    def told(measure: str, name: str) -> Line:
        word, style = _verdict(row, measure, cell.bounds[measure])
        return f"{name}: {word}", style

    lines = [
        *_identity(row),
        told("accuracy", words.value),
        (f"  {cell.accuracy}", best("accuracy")),
        (f"  {words.loss} {cell.drop}", best("accuracy_drop")),
        told("speed", "speed"),
        (f"  {cell.speedup} {cell.pairs}", best("speedup")),
        (f"  over control {cell.over_control}", best("speedup_vs_control")),
        *([(f"  floor {cell.floor}", "")] if cell.floor != MISSING else []),
        told("footprint", "footprint"),
        (f"  size {cell.size}", best("size_ratio")),
        *([(f"  {cell.kept}", "")] if cell.kept else []),
        (f"  peak memory {cell.memory}", ""),
        (f"  compress {cell.compress}", ""),
    ]
    return [[line for line in lines if line[0]]]


def _says(line: Line) -> bool:
    """Whether there is anything in a line of a cell: a number, or a word."""
    text = line[0].strip()
    return bool(text) and not text.endswith(MISSING)


def _marking(marks: frozenset[str]) -> Best:
    return lambda name: "bold" if name in marks else ""


def _identity(row: Row) -> list[Line]:
    if not row.measured:
        return [(row.label, ""), ("", "")]
    role = "" if row.first.role in ("method", row.label) else row.first.role
    return [(row.label, "bold"), (", ".join(part for part in (row.workload, role) if part), "dim")]


@dataclass(frozen=True)
class _Layout:
    """headings: with `{value}` and `{lost}` for what the quality in the table is called. longest_name: where a longer
    name in the first column is folded. together: columns of one record each."""

    cells: Callable[[Row, Cells, Best, Words], list[list[Line]]]
    headings: Sequence[Sequence[str]]
    longest_name: int | None
    together: Sequence[Sequence[int]] = ()

    def table(self, pen: Pen, group: Section) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), leading=1)
        headings, drawn = self.measured(group)
        for index, heading in enumerate(headings):
            table.add_column(
                pen.lines([(line, "") for line in heading]),
                overflow="fold",
                max_width=None if index else self.longest_name,
            )
        for first, *others in drawn:
            if self.longest_name:
                first = [(part, style) for line, style in first for part in at_hyphens(line, self.longest_name)]
            table.add_row(*map(pen.lines, [first, *others]))
        return table

    def measured(self, group: Section) -> tuple[list[list[str]], list[list[list[Line]]]]:
        """Headings and rows without the lines of cells that say nothing in any row, and without columns that have no
        other. A number and its verdict beside it stay or go together, and so does what every row is called. A row that
        was not measured here has the lines that say something alone."""
        words = words_of(judged(group.rows, "accuracy"))
        every = [
            self.cells(row, cells(row), _marking(marks), words)
            for row, marks in zip(group.rows, best_measures(group.rows), strict=True)
        ]
        headings: list[list[str]] = []
        drawn: list[list[list[Line]]] = [[] for _ in every]
        for place, heading in enumerate(self.headings):
            beside = next((pair for pair in self.together if place in pair), (place,))
            if place and not any(_says(line) for row in every for at in beside for line in row[at]):
                continue
            lines = range(max((len(row[place]) for row in every), default=0))
            kept = [n for n in lines if n == 0 or any(_says(line) for row in every for line in row[place][n : n + 1])]
            heading = [line.format(value=words.value, lost=words.lost("pts")) for line in heading]
            headings.append([line for n, line in enumerate(heading) if n in kept or n >= len(lines)])
            for to, row, of in zip(drawn, every, group.rows, strict=True):
                lines_of = [row[place][n] for n in kept if n < len(row[place])]
                to.append(lines_of if of.measured else [line for line in lines_of if _says(line)] or lines_of[:1])
        return headings, drawn


_ACCURACY, _SPEED = ("{value}", "{lost} (+ = loss)"), ("speed-up over dense", "over best control", "floor")
_THREE_LINES = (
    ("compressor", "workload", "time to compress"),
    (*_ACCURACY, "verdict"),
    (*_SPEED, "verdict"),
    ("size of dense", "weights as before", "peak memory", "verdict"),
)
_VERDICT = ("verdict", "bound")
_LAYOUTS = (
    _Layout(
        _wide,
        (
            ("compressor", "workload"),
            _ACCURACY,
            _VERDICT,
            _SPEED,
            _VERDICT,
            ("size of dense", "as before"),
            _VERDICT,
            ("memory", "compress"),
        ),
        26,
        ((1, 2), (3, 4), (5, 6)),
    ),
    _Layout(_medium, _THREE_LINES, 22),
    _Layout(_narrow, _THREE_LINES, 16),
    _Layout(_narrowest, _THREE_LINES, 16),
    _Layout(_stacked, (("compressor", "({lost}, + = loss)"),), None),
)


def _tables(pen: Pen, groups: Sequence[Section], console: Console) -> list[Table]:
    """A table for each group, all in the first layout in which every number fits on its line."""
    unbounded = console.options.update(width=10_000)
    for layout in _LAYOUTS:
        tables = [layout.table(pen, group) for group in groups]
        if all(Measurement.get(console, unbounded, table).maximum <= console.width for table in tables):
            break
    return tables


def _print_summary(pen: Pen, run: Run, groups: Sequence[Section], console: Console) -> None:
    what = summary_of(run, groups)
    console.print(pen.text(headline(what), "bold red" if what.interrupted else "bold"))
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for found, line in problems(what):
        lines.add_row(pen.text(verdict(found), STYLES[found]), pen.text(line))
    for case in missing(what):
        lines.add_row(pen.text("not executed", "yellow"), pen.text(case))
    for note in what.notes:
        lines.add_row(pen.text("note", "yellow"), pen.text(note))
    if lines.row_count:
        console.print(lines)
    for time in filter(None, (time_spent(what), time_needed(what))):
        console.print(pen.text(time, "dim"))
