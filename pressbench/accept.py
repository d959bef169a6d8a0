"""`pressbench accept`: a run's results become the baseline of its machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pressbench.places import BASELINES, RUNS
from results.store.quality import quality_in
from results.store.record import HEADLINE


def accept(
    run: Annotated[str, typer.Argument(help="A run's id or file.")],
    cases: Annotated[list[str] | None, typer.Argument(help="Cases or patterns such as 'int8-*'; default: all.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reviews the change.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
    baselines: Annotated[Path, typer.Option(help="Where accepted results lie.")] = BASELINES,
) -> None:
    """Make a run's results the baseline of its machine. Targets are not touched by it."""
    from results.history import baseline as accepted
    from results.store.machine import fingerprint_of
    from results.store.store import now, read_run, resolve_run

    stored = read_run(resolve_run(runs, run))
    fingerprint, _ = fingerprint_of(stored)
    before = accepted.load(baselines, fingerprint) if fingerprint else None
    after, changes, refused = accepted.propose(stored, before, cases or [], when=now()[:10], reason=reason)
    console = Console()
    if changes:
        console.print(_acceptance(changes))
    for record, why in refused:
        console.print(Text(f"not accepted: {record.measure} of {record.case}: {why}", style="dim"))
    results = f"{len(changes)} result{'s' * (len(changes) != 1)}"
    if not changes and refused:
        console.print("nothing was accepted: see above")
    elif not changes:
        console.print("nothing to accept: no result differs from what is accepted")
    elif dry_run:
        console.print(f"{results} would be accepted; nothing was written")
    else:
        path = accepted.save(after, baselines)
        console.print(Text(f"{results} accepted in {path}: commit it, so that the change is reviewed"))


def _acceptance(changes: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("measure", "left"), ("case", "left"), ("accepted", "right"), ("now", "right")):
        table.add_column(heading, header_style="dim", overflow="fold", justify=justify)  # type: ignore[arg-type]
    for change in changes:
        measure, case = change.key
        values = change.after.values
        name = quality_in(values).value if measure == "accuracy" else HEADLINE[measure]
        old = change.before.value(name) if change.before else None
        new = change.after.value(name)
        table.add_row(measure, Text(case), "–" if old is None else f"{old:.4g}", "–" if new is None else f"{new:.4g}")
    return table
