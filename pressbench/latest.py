"""`pressbench latest`: the newest result of every case over all stored runs."""

from __future__ import annotations

from typing import Annotated

import typer

from pressbench.formats import Format, split, write
from pressbench.parameters import Devices, Grouped, Rows, RunsOrUrl, Sorted, Written
from pressbench.places import find_runs
from pressbench.unreadable import tell


def latest(
    format: Written = Format.terminal,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Columns, as accuracy,speedup,size,run; may repeat.")
    ] = None,
    rows: Rows = None,
    hardware: Devices = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only these machines: a name or pattern, or how a fingerprint begins; may repeat."
        ),
    ] = None,
    group: Grouped = None,
    sort: Sorted = None,
    runs: RunsOrUrl = None,
) -> None:
    """The newest result of every case, whichever run it is from, a block of columns for each machine."""
    from results.history.newest import newest
    from results.store.query import Runs
    from results.table.choice import Choice
    from results.table.columns import ONE_MACHINE, PAPER
    from results.table.grid import grid_of

    choice = Choice(split(columns), tuple(rows or ()), tuple(hardware or ()), group, sort)
    with Runs(find_runs(runs)) as stored:
        found, problems = newest(stored, machine or ()), stored.problems
    write(grid_of(found, choice, PAPER if format is Format.latex else ONE_MACHINE), format)
    tell(problems)
