"""`pressbench regressions`: what a run confirmed as worse than the accepted baseline, as the text of an issue."""

from __future__ import annotations

import typer

from pressbench.parameters import LatestRun, Runs
from pressbench.places import find_run


def regressions(
    run: LatestRun = None,
    runs: Runs = None,
) -> None:
    """Regressions that a run confirmed, as Markdown for an issue. Ends with 1 where there are any."""
    from results.exchange.github import issue
    from results.store.store import read_run

    if text := issue(read_run(find_run(runs, run))):
        typer.echo(text, nl=False)
        raise typer.Exit(1)
