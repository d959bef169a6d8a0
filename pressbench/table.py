"""`pressbench table`: the table of stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pressbench.formats import Format, split, write
from pressbench.places import RUNS


def table(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs' ids or files; default: the latest.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.terminal,
    columns: Annotated[
        list[str] | None, typer.Option(help="Such as accuracy,speedup,size; default: those of the run's own table.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option(help="A compressor, a case, or a pattern such as 'int8-*'; may repeat.")
    ] = None,
    hardware: Annotated[list[str] | None, typer.Option(help="A device, or a class; may repeat.")] = None,
    group: Annotated[str | None, typer.Option(help="By model, hardware or family.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column: its best methods first, or last with -COLUMN.")] = None,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """The table of a stored run, or of several side by side, a block of columns for each machine."""
    from results.store.store import read_run, resolve_run
    from results.table.choice import Choice
    from results.table.columns import ONE_MACHINE, PAPER
    from results.table.grid import grid
    from results.table.table import print_terminal, render

    wanted: list[str | None] = [*names] if names else [None]
    stored = [read_run(resolve_run(runs, name)) for name in wanted]
    choice = Choice(split(columns), tuple(rows or ()), tuple(hardware or ()), group, sort)
    if len(stored) > 1 or choice.columns or format is Format.latex:
        write(grid(stored, choice, PAPER if format is Format.latex else ONE_MACHINE), format)
    elif format is Format.terminal:
        print_terminal(stored[0], Console(), choice)
    else:
        typer.echo(render(stored[0], format, choice=choice), nl=False)
