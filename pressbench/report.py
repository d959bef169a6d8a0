"""`pressbench report`: a run as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pressbench.parameters import Baselines, Runs
from pressbench.places import BASELINES, find_run

HISTORY = 20
"""How many earlier runs a history goes back unless it is told."""


def report(
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs, by ids or files: the latest of them is reported, the rest are its history. Default: the latest "
            "run; the history of a single run are those before it.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "report.html"
    ),
    history: Annotated[
        int, typer.Option(min=0, metavar="N", help="Earlier runs to draw histories from where one run is reported.")
    ] = HISTORY,
    runs: Runs = None,
    baselines: Baselines = BASELINES,
) -> None:
    """Write a run as one web page that needs no network."""
    from results.report.page import render
    from results.report.write import accepted, before, write
    from results.store.store import read_run

    paths = dict.fromkeys(find_run(runs, name) for name in (named or (None,)))
    stored = sorted(map(read_run, paths), key=lambda run: (run.header.started, run.header.run))
    run, earlier = stored[-1], stored[:-1]
    if not earlier:
        earlier = before(run, history)
    write(render(run, earlier, accepted(run, baselines)), output)
    typer.echo(f"{output}: run {run.header.run}, with {len(earlier)} earlier")
