"""`pressbench latest`: the newest result of every case over all stored runs."""

from __future__ import annotations

from typing import Annotated

import typer

from pressbench.formats import Format, split, write
from pressbench.places import RUNS
from pressbench.unreadable import tell


def latest(
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.terminal,
    columns: Annotated[list[str] | None, typer.Option(help="Such as accuracy,speedup,size,run.")] = None,
    rows: Annotated[
        list[str] | None, typer.Option(help="A compressor, a case, or a pattern such as 'int8-*'; may repeat.")
    ] = None,
    hardware: Annotated[list[str] | None, typer.Option(help="A device, or a class; may repeat.")] = None,
    machine: Annotated[
        list[str] | None, typer.Option(help="A machine's name, or how its fingerprint begins; may repeat.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="By model, hardware or family.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column: its best methods first, or last with -COLUMN.")] = None,
    runs: Annotated[str, typer.Option(metavar="PATH|URL", help="Where records lie.")] = str(RUNS),
) -> None:
    """The newest result of every case, whichever run it is from, a block of columns for each machine."""
    from results.history.newest import newest
    from results.store.query import Runs
    from results.table.choice import Choice
    from results.table.columns import ONE_MACHINE, PAPER
    from results.table.grid import grid_of

    choice = Choice(split(columns), tuple(rows or ()), tuple(hardware or ()), group, sort)
    with Runs(runs) as stored:
        found, problems = newest(stored, machine or ()), stored.problems
    write(grid_of(found, choice, PAPER if format is Format.latex else ONE_MACHINE), format)
    tell(problems)
