"""`pressbench card`: a section of a model card for one compressed model."""

from __future__ import annotations

from typing import Annotated

import typer

from pressbench.parameters import Runs
from pressbench.places import find_run


def card(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case, as int8-openvino-minilm-bbc-cpu.")],
    run: Annotated[str | None, typer.Option(metavar="RUN", help="A run's id or file. Default: the latest.")] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The dense model's name on the hub, as org/name.")
    ] = None,
    task_type: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The hub's name of the task, as text-classification, where the run recorded none."
        ),
    ] = None,
    runs: Runs = None,
) -> None:
    """A section of a model card: Markdown, with metadata as the Hugging Face hub reads it."""
    from results.exchange import card as cards
    from results.store.store import read_run

    text = cards.card(read_run(find_run(runs, run)), case, base_model=base_model, task_type=task_type)
    typer.echo(text, nl=False)
