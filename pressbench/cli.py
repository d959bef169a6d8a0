"""The command-line program: what is not a test run. `pytest benchmarks` runs the matrix.

Each command has a module of its own, which imports what is heavy only when it is called.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pressbench.accept import accept
from pressbench.card import card
from pressbench.cluster import cluster
from pressbench.compare import compare
from pressbench.exchange import export, import_
from pressbench.help import Command, Group
from pressbench.history import history
from pressbench.latest import latest
from pressbench.listing import list_
from pressbench.new import new
from pressbench.peers import peers
from pressbench.plot import plot
from pressbench.qualify import qualify
from pressbench.regressions import regressions
from pressbench.report import report
from pressbench.search import search
from pressbench.table import table
from results.store.strict_json import ResultsError

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A benchmark suite for Transformer compression.",
)
USAGE_ERROR = 4
"""As pytest's own: the command was not understood, nothing ran."""


def _show_version(asked: bool) -> None:
    if asked:
        from pressbench import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


app.command("list", cls=Command)(list_)
for command in (
    new, peers, search, table, latest, report, plot, qualify, cluster, accept, compare, history, card, regressions,
):  # fmt: skip
    app.command(cls=Command)(command)  # as in --help
app.command("import", cls=Command)(import_)
app.command(cls=Command)(export)


def main() -> None:
    """Run the program; a user's mistake is one line and exit code 4."""
    try:
        app()
    except Exception as error:
        if _is_for_the_user(error):
            print(f"pressbench: {error}", file=sys.stderr)
            sys.exit(USAGE_ERROR)
        raise


def _is_for_the_user(error: Exception) -> bool:
    # By name: reading results must not import torch only to learn that nothing went wrong.
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, ResultsError) or "PressbenchError" in names


if __name__ == "__main__":
    main()
