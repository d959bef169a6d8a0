"""A grid for people: in the terminal and as Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.store.text import markdown
from results.table.cells import MISSING, SYMBOLS
from results.table.grid import Cell, Grid
from results.table.pen import STYLES, Pen, at_hyphens

_LONGEST_NAME = 26
_NARROWEST, _NARROWEST_WORDS = 8, 16
_GAP = 2
"""Between two columns."""

Word = tuple[str, str]
"""A part of a cell and its style."""


def print_grid(grid: Grid, console: Console) -> None:
    """Print the table on `console`. No number is cut: where it is too wide the parts of a cell stand below each
    other, and where that is too wide the columns stand in several tables."""
    pen = Pen(ascii=console.options.ascii_only)
    for layout in (_in_line, _stacked):
        table = _Drawn(pen, grid, layout)
        table.shrink(console.width)
        if table.width <= console.width:
            break
    for block in range(len(grid.blocks)):
        if grid.blocks[block].title:
            console.print(pen.text(grid.blocks[block].title, "bold"))
        for note in grid.blocks[block].notes:
            console.print(pen.text(note, "dim"))
        for places in table.pages(console.width):
            console.print(table.drawn(block, places))
            console.print()
    for note in notes(grid):
        console.print(pen.text(note, "dim"))


def grid_markdown(grid: Grid) -> str:
    """A GitHub table for each block, then the notes."""
    titles = [grid.title(head) for head in grid.heads]
    aligned = ["--:" if head.number else "---" for head in grid.heads]
    parts: list[str] = []
    for block in grid.blocks:
        lines = [_pipes(map(markdown, titles)), _pipes(aligned)]
        lines += [_pipes(map(_markdown_cell, line)) for line in block.lines]
        parts += [f"### {markdown(block.title)}"] if block.title else []
        parts += [*map(markdown, block.notes), "\n".join(lines)]
    parts.append("\n".join(f"- {markdown(note)}" for note in notes(grid)))
    return "\n\n".join(part for part in parts if part) + "\n"


def notes(grid: Grid) -> list[str]:
    """The notes, with what the symbols in the cells mean."""
    used = {cell.verdict for block in grid.blocks for line in block.lines for cell in line if cell.text != MISSING}
    legend = ", ".join(f"{symbol} {word}" for word, symbol in SYMBOLS.items() if word in used - {"measured"})
    return [*grid.notes, *([legend] if legend else [])]


def _words(cell: Cell) -> list[Word]:
    """Value, interval, bound with the verdict's symbol."""
    style = cell.style or STYLES.get(cell.verdict, "")
    if cell.text == MISSING and cell.verdict not in ("", "measured"):
        return [(f"{SYMBOLS[cell.verdict]} {cell.verdict}", style)]
    symbol = SYMBOLS[cell.verdict] if cell.verdict not in ("", "measured") else ""
    found = [(cell.text, "bold" if cell.best else cell.style), (cell.interval, "")]
    found += [(f"({cell.bound}) {symbol}".rstrip() if cell.bound else symbol, style)]
    return [word for word in found if word[0]] or [("", "")]


def _in_line(pen: Pen, cell: Cell) -> list[Text]:
    return [Text(" ").join(pen.text(*word) for word in _words(cell))]


def _stacked(pen: Pen, cell: Cell) -> list[Text]:
    return [pen.text(*word) for word in _words(cell)]


class _Drawn:
    """A grid in one layout: every cell drawn, and how wide each column is for the widest of them."""

    def __init__(self, pen: Pen, grid: Grid, layout: Callable[[Pen, Cell], list[Text]]) -> None:
        self._grid, self._pen = grid, pen
        self._cells = [
            [
                [layout(pen, cell) if place else self._first(cell) for place, cell in enumerate(line)]
                for line in block.lines
            ]
            for block in grid.blocks
        ]
        self._heads = [pen.text(grid.title(head)) for head in grid.heads]
        self._widths = [self._width(place) for place in range(len(grid.heads))]

    def _first(self, cell: Cell) -> list[Text]:
        return [self._pen.text(line, cell.style or "bold") for line in at_hyphens(cell.text, _LONGEST_NAME)]

    def _width(self, place: int) -> int:
        words = [word.cell_len for word in self._heads[place].split(" ")]
        cells = [text.cell_len for block in self._cells for line in block for text in line[place]]
        limit = _LONGEST_NAME if not place else max(cells, default=0)
        return max(_NARROWEST, min(max(cells, default=0), limit), *words)

    @property
    def width(self) -> int:
        """Of the whole table."""
        return sum(width + _GAP for width in self._widths)

    def shrink(self, width: int) -> None:
        """Fold columns of words, the widest first, until the table is no wider than `width` or they are narrow."""
        words = [place for place, head in enumerate(self._grid.heads) if not head.number]
        while words and self.width > width:
            widest = max(words, key=lambda place: self._widths[place])
            if self._widths[widest] <= _NARROWEST_WORDS:
                break
            self._widths[widest] -= 1

    def pages(self, width: int) -> list[list[int]]:
        """The columns in runs that are no wider than `width`, each with what the rows are called."""
        names = list(itertools.takewhile(lambda place: not self._grid.heads[place].number, range(len(self._widths))))
        if not names or sum(self._widths[place] + _GAP for place in names) > width / 2:
            names = [0]
        pages, left = [list(names)], width - sum(self._widths[place] + _GAP for place in names)
        room = left
        for place in range(len(names), len(self._widths)):
            needed = self._widths[place] + _GAP
            if needed > left and len(pages[-1]) > len(names):
                pages.append(list(names))
                left = room
            pages[-1].append(place)
            left -= needed
        return pages

    def drawn(self, block: int, places: Sequence[int]) -> Table:
        """The columns at `places` of one block."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for place in places:
            side = "right" if self._grid.heads[place].number else "left"
            table.add_column(self._heads[place], overflow="fold", width=self._widths[place], justify=side)  # type: ignore[arg-type]
        for line in self._cells[block]:
            table.add_row(*(Text("\n").join(self._folded(line[place], place)) for place in places))
        return table

    def _folded(self, lines: list[Text], place: int) -> list[Text]:
        """Words that are wider than their column in lines that end at hyphens."""
        width = self._widths[place]
        if self._grid.heads[place].number or all(text.cell_len <= width for text in lines):
            return lines
        return [Text(part, text.style) for text in lines for part in at_hyphens(text.plain, width)]


def _markdown_cell(cell: Cell) -> str:
    (first, _), *others = _words(cell)
    return " ".join([f"**{markdown(first)}**" if cell.best else markdown(first), *(text for text, _ in others)])


def _pipes(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"
