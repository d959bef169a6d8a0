"""`pressbench card`: a section of a model card for one compressed model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pressbench.places import RUNS


def card(
    case: Annotated[str, typer.Argument(help="A case id, as tables and records have it.")],
    run: Annotated[str | None, typer.Option(help="A run's id or file; default: the latest.")] = None,
    base_model: Annotated[str | None, typer.Option(help="The dense model's name on the hub.")] = None,
    task_type: Annotated[
        str | None, typer.Option(help="The hub's name of the task, where the run recorded none.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """A section of a model card: Markdown, with metadata as the Hugging Face hub reads it."""
    from results.exchange import card as cards
    from results.store.store import read_run, resolve_run

    text = cards.card(read_run(resolve_run(runs, run)), case, base_model=base_model, task_type=task_type)
    typer.echo(text, nl=False)
