"""`pressbench table`: the table of stored runs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pressbench.formats import Format, split, write
from pressbench.parameters import Devices, Grouped, Rows, Runs, Sorted, Written
from pressbench.places import find_run


def table(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="Runs: their ids, the beginning or end of these, or their files. Default: the latest."
        ),
    ] = None,
    format: Written = Format.terminal,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Columns, as accuracy,speedup,size; may repeat. Default: those of the run's own table.",
        ),
    ] = None,
    rows: Rows = None,
    hardware: Devices = None,
    group: Grouped = None,
    sort: Sorted = None,
    runs: Runs = None,
) -> None:
    """The table of a stored run, or of several side by side, a block of columns for each machine."""
    from results.store.store import read_run
    from results.table.choice import Choice
    from results.table.columns import ONE_MACHINE, PAPER
    from results.table.grid import grid
    from results.table.table import print_terminal, render

    wanted: list[str | None] = [*names] if names else [None]
    stored = [read_run(find_run(runs, name)) for name in wanted]
    choice = Choice(split(columns), tuple(rows or ()), tuple(hardware or ()), group, sort)
    if len(stored) > 1 or choice.columns or format is Format.latex:
        write(grid(stored, choice, PAPER if format is Format.latex else ONE_MACHINE), format)
    elif format is Format.terminal:
        print_terminal(stored[0], Console(), choice)
    else:
        typer.echo(render(stored[0], format, choice=choice), nl=False)
