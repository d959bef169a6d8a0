"""`pressbench table`: the table of a stored run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pressbench.places import RUNS


class Format(StrEnum):
    """How a table is written."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    json = "json"


def table(
    run: Annotated[str | None, typer.Argument(help="A run's id or file; default: the latest.")] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.terminal,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """The table of a stored run."""
    from results.store import read_run, resolve_run
    from results.table import print_terminal, render

    stored = read_run(resolve_run(runs, run))
    if format is Format.terminal:
        print_terminal(stored, Console())
    else:
        typer.echo(render(stored, format), nl=False)
