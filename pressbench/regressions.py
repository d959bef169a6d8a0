"""`pressbench regressions`: what a run confirmed as worse than the accepted baseline, as the text of an issue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pressbench.places import RUNS


def regressions(
    run: Annotated[str | None, typer.Argument(help="A run's id or file; default: the latest.")] = None,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """Regressions that a run confirmed, as Markdown for an issue. Ends with 1 where there are any."""
    from results.exchange.github import issue
    from results.store.store import read_run, resolve_run

    if text := issue(read_run(resolve_run(runs, run))):
        typer.echo(text, nl=False)
        raise typer.Exit(1)
