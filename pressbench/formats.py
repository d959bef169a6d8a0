"""What the commands that draw tables share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from results.table.grid import Grid


class Format(StrEnum):
    """How a table is written."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    json = "json"


def split(names: Sequence[str] | None) -> tuple[str, ...]:
    """The names in options such as `--columns accuracy,size`, which may be given more than once."""
    return tuple(name.strip() for text in names or () for name in text.split(",") if name.strip())


def write(grid: Grid, format: Format) -> None:
    """Print a grid in a format."""
    from rich.console import Console

    from results.table.grid_data import grid_csv, grid_json
    from results.table.grid_text import grid_markdown, print_grid
    from results.table.latex import grid_latex

    if format is Format.terminal:
        print_grid(grid, Console())
        return
    written = {
        Format.markdown: grid_markdown,
        Format.csv: grid_csv,
        Format.latex: grid_latex,
        Format.json: grid_json,
    }
    typer.echo(written[format](grid), nl=False)
