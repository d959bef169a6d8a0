"""`pressbench compare`: what changed in a run since the accepted baseline, or since an earlier run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pressbench.places import BASELINES, RUNS
from results.strict_json import ResultsError

OTHER_MACHINE = 12
"""Nothing was compared: there is no result of the same machine to compare with."""


def compare(
    run: Annotated[str, typer.Argument(help="A run's id or file.")],
    other: Annotated[str | None, typer.Argument(help="An earlier run; default: the accepted baseline.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
    baselines: Annotated[Path, typer.Option(help="Where accepted results lie.")] = BASELINES,
) -> None:
    """What changed in a run. Ends with 1 where something regressed, 12 where the machines differ."""
    from benchmarks import comparison
    from results.baseline import differences, fingerprint_of
    from results.history import History
    from results.store import read_run, resolve_run

    stored = read_run(resolve_run(runs, run))
    fingerprint, machine = fingerprint_of(stored)
    if not fingerprint:
        raise ResultsError(f"run {stored.header.run} kept no fingerprint and cannot be compared")
    if other is None:
        known = comparison.reference(baselines, runs, {"hash": fingerprint, "key": machine}, stored.header.run)
        against, both = "the accepted baseline", [stored]
    else:
        both = [stored, read_run(resolve_run(runs, other))]
        anchor = comparison.as_baseline(both[1])
        known, against = comparison.Reference(anchor, History({}, ())), other
        if anchor.fingerprint != fingerprint:
            differ = "; ".join(differences(machine, anchor.machine)) or "fields that were not kept"
            print(f"pressbench: not compared, the machines differ in {differ}", file=sys.stderr)
            raise typer.Exit(OTHER_MACHINE)
    if known.baseline is None:
        print(f"pressbench: not compared: {known.note}", file=sys.stderr)
        raise typer.Exit(OTHER_MACHINE)
    tau = comparison.taus(*both)
    report = comparison.compare_run(stored, known, tau)
    if as_json:
        typer.echo(json.dumps({**_report_json(stored.header.run, against, report), "tau": tau}, indent=2))
    else:
        _print_report(Console(), stored.header.run, against, report)
        print(*comparison.tau_lines(*both), sep="\n")
    if report.regressions:
        raise typer.Exit(1)


def _report_json(run: str, against: str, report: Any) -> dict[str, Any]:
    return {
        "run": run,
        "against": against,
        "cases": [{"measure": r.measure, "case": r.case, **c.to_json()} for r, c in report.compared],
        "vanished": [{"measure": measure, "case": case} for measure, case in report.vanished],
        "new": [{"measure": measure, "case": case} for measure, case in report.appeared],
    }


def _print_report(console: Console, run: str, against: str, report: Any) -> None:
    console.print(Text(f"{run} against {against}", style="bold"))
    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        ("outcome", "left"), ("measure", "left"), ("case", "left"), ("before", "right"), ("now", "right"),
    ):  # fmt: skip
        table.add_column(heading, header_style="dim", overflow="fold", justify=justify)  # type: ignore[arg-type]
    styles = {"regression": "bold red", "suspect": "yellow", "environment": "yellow", "improved": "green"}
    order = ["regression", "suspect", "environment", "noise", "improved", "unchanged", "new"]
    for record, found in sorted(report.compared, key=lambda pair: order.index(pair[1].outcome)):
        before, now = ("–" if v is None else f"{v:.4g}" for v in (found.before, found.now))
        table.add_row(
            Text(found.outcome, style=styles.get(found.outcome, "")), record.measure, Text(record.case), before, now
        )
    console.print(table)
    for record, found in report.compared:
        if found.outcome in ("regression", "suspect", "environment", "improved"):
            console.print(Text(f"{found.outcome}: {record.measure} of {record.case}: {found.reason}"))
    for word, names in (("vanished", report.vanished), ("new", report.appeared)):
        for measure, case in names:
            console.print(Text(f"{word}: {measure} of {case}"))
