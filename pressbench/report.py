"""`pressbench report`: a run as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pressbench.places import BASELINES, RUNS

HISTORY = 20
"""How many earlier runs a history goes back unless it is told."""


def report(
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Runs' ids or files: the latest of them is reported, the rest are its history. Default: the latest "
            "run; the history of a single run are those before it.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    history: Annotated[int, typer.Option(min=0, help="Earlier runs to look at where one run is reported.")] = HISTORY,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
    baselines: Annotated[Path, typer.Option(help="Where accepted results lie.")] = BASELINES,
) -> None:
    """Write a run as one web page that needs no network."""
    from results.report.page import render
    from results.report.write import accepted, before, write
    from results.store.store import read_run, resolve_run

    paths = dict.fromkeys(resolve_run(runs, name) for name in (named or (None,)))
    stored = sorted(map(read_run, paths), key=lambda run: (run.header.started, run.header.run))
    run, earlier = stored[-1], stored[:-1]
    if not earlier:
        earlier = before(run, history)
    write(render(run, earlier, accepted(run, baselines)), output)
    typer.echo(f"{output}: run {run.header.run}, with {len(earlier)} earlier")
