"""`pressbench compare`: what changed in a run since the accepted baseline, or since an earlier run."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from pressbench.formats import Format, split, write
from pressbench.parameters import Baselines, Grouped, Rows, Runs, Written
from pressbench.places import BASELINES, find_run
from results.store.strict_json import ResultsError

OTHER_MACHINE = 12
"""Nothing was compared: there is no result of the same machine to compare with."""


def compare(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run's id or file. Default: the latest, with the one before it."),
    ] = None,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="An earlier run. Default: the accepted baseline.")
    ] = None,
    format: Written = Format.terminal,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Columns, as outcome,case,change,reason; may repeat.")
    ] = None,
    rows: Rows = None,
    group: Grouped = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by a column, as change: upwards; downwards with -change.")
    ] = None,
    runs: Runs = None,
    baselines: Baselines = BASELINES,
) -> None:
    """What changed in a run. Ends with 1 where something regressed, 12 where the machines differ."""
    from benchmarks.regression import comparison
    from pressbench.comparison_table import comparison_grid
    from results.history.history import History, run_before
    from results.store.machine import differences, fingerprint_of
    from results.store.store import read_run

    path = find_run(runs, run)
    stored = read_run(path)
    fingerprint, machine = fingerprint_of(stored)
    if not fingerprint:
        raise ResultsError(f"run {stored.header.run} kept no fingerprint and cannot be compared")
    earlier = find_run(runs, other) if other is not None else None
    if run is None:
        earlier = run_before(path, fingerprint)
        if earlier is None:
            print(f"pressbench: not compared: {path.stem} is the first run of this machine", file=sys.stderr)
            raise typer.Exit(OTHER_MACHINE)
        print(f"pressbench: {path.stem}, the latest run, against {earlier.stem}, the one before it", file=sys.stderr)
    if earlier is None:
        known = comparison.reference(baselines, path.parent, {"hash": fingerprint, "key": machine}, stored.header.run)
        against, both = "the accepted baseline", [stored]
    else:
        both = [stored, read_run(earlier)]
        anchor = comparison.as_baseline(both[1])
        known, against = comparison.Reference(anchor, History({}, ())), both[1].header.run
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
        format = Format.json
    title, lines = f"{stored.header.run} against {against}", comparison.tau_lines(*both)
    choice: dict[str, Any] = {"columns": split(columns), "rows": rows or (), "group": group, "sort": sort}
    accepted = known.baseline.cases
    if format is Format.json:
        shown = comparison_grid(title, report, accepted, vanished=False, **choice)
        order = [(key["measure"], key["case"]) for block in shown.blocks for key in block.keys]
        typer.echo(json.dumps({**_report_json(stored.header.run, against, report, order), "tau": tau}, indent=2))
    elif format is Format.terminal:
        write(comparison_grid(title, report, accepted, vanished=False, **choice), format)
        for line in _remarks(report):
            Console().print(Text(line))
        print(*lines, sep="\n")
    else:
        write(comparison_grid(title, report, accepted, notes=[*_remarks(report), *lines], **choice), format)
    if report.regressions:
        raise typer.Exit(1)


def _report_json(run: str, against: str, report: Any, order: list[tuple[str, str]]) -> dict[str, Any]:
    found = {(r.measure, r.case): {"measure": r.measure, "case": r.case, **c.to_json()} for r, c in report.compared}
    return {
        "run": run,
        "against": against,
        "cases": [found[key] for key in order],
        "vanished": [{"measure": measure, "case": case} for measure, case in report.vanished],
        "new": [{"measure": measure, "case": case} for measure, case in report.appeared],
    }


def _remarks(report: Any) -> list[str]:
    """Why what a person should look at came out as it did, and what is not in both."""
    called = ("regression", "suspect", "inconclusive", "environment", "not comparable", "improved")
    lines = [f"{c.outcome}: {r.measure} of {r.case}: {c.reason}" for r, c in report.compared if c.outcome in called]
    for word, names in (("vanished", report.vanished), ("new", report.appeared)):
        lines += [f"{word}: {measure} of {case}" for measure, case in names]
    return lines
