"""The command-line program: what is not a test run. `pytest benchmarks` runs the matrix."""

from __future__ import annotations

import functools
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.strict_json import ResultsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A benchmark suite for Transformer compression.",
)
RUNS = Path("results") / "runs"
BASELINES = Path("baselines") / "accepted"
QUALIFICATIONS = Path("results") / "qualifications"
USAGE_ERROR = 4
"""As pytest's own: the command was not understood, nothing ran."""
OTHER_MACHINE = 12
"""Nothing was compared: there is no result of the same machine to compare with."""
HEADLINE = {"accuracy": "accuracy", "speed": "speedup", "footprint": "size_ratio"}
"""Measure -> the number that stands for it where there is room for one."""


class What(StrEnum):
    """What can be listed."""

    compressors = "compressors"
    models = "models"
    hardware = "hardware"


class Format(StrEnum):
    """How a table is written."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    json = "json"


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        from pressbench import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command("list")
def list_(
    what: Annotated[What | None, typer.Argument(help="Default: all three.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tier: Annotated[str, typer.Option(help="quick, or nightly and full with more variants.")] = "quick",
) -> None:
    """What there is, and for each compressor why it cannot run on a model, where it cannot."""
    parts = [what] if what else list(What)
    found = {str(part): _LISTINGS[part](tier) for part in parts}
    if as_json:
        typer.echo(json.dumps(found[str(what)] if what else found, indent=2))
        return
    console = Console()
    for part in parts:
        console.print(_tables(part, found[str(part)]))
        if part is What.compressors:
            for line in _cannot_run(found[str(part)]):
                console.print(line)
        console.print()
    if What.compressors in parts:
        from compressors.registry import broken_plugins

        for plugin in broken_plugins():
            console.print(Text(f"plugin {plugin.name} could not be used: {plugin.reason}", style="red"))


def _list_compressors(tier: str) -> list[dict[str, Any]]:
    from benchmarks import zoo
    from benchmarks.cases import role
    from benchmarks.hardware import detected
    from compressors import registry

    if tier not in ("quick", "nightly", "full"):
        from compressors.interface import PressbenchError

        raise PressbenchError(f"unknown tier {tier!r}{registry.nearest(tier, ('quick', 'nightly', 'full'))}")
    listing = []
    for name, compressor in registry.variants(tier).items():
        unsupported = {
            f"{model.name}-{hardware.name}": reason
            for model in zoo.known_models().values()
            for hardware in detected().values()
            if (reason := registry.unsupported_reason(compressor, model.spec(), hardware))
        }
        listing.append(
            {
                "id": name,
                "role": role(compressor),
                "family": compressor.family,
                "effect": compressor.effect,
                "parameters": compressor.parameters,
                "recipe": [step.name for step in compressor.steps],
                "source": type(compressor).__module__,
                "summary": " ".join((type(compressor).__doc__ or "").split("\n\n")[0].split()),
                "unsupported": unsupported,
            }
        )
    return listing


def _list_models(tier: str) -> list[dict[str, Any]]:
    from benchmarks import zoo

    return [
        {
            "id": name,
            "task": model.task.name,
            "architecture": model.spec().architecture,
            "test_examples": model.task.test_examples,
            "workloads": [workload.name for workload in model.workloads_of(tier)],
            "assets": [
                {"name": a.name, "package": f"{a.package}=={a.version}", "license": a.license, "variable": a.variable}
                for a in model.assets
            ],
        }
        for name, model in zoo.known_models().items()
    ]


def _list_hardware(tier: str) -> list[dict[str, Any]]:
    from benchmarks.hardware import detected

    return [
        {
            "id": h.name,
            "class": h.hardware_class,
            "features": sorted(h.features),
            "threads": h.threads,
            "device": h.device,
        }
        for h in detected().values()
    ]


_LISTINGS = {What.compressors: _list_compressors, What.models: _list_models, What.hardware: _list_hardware}


def _tables(what: What, rows: list[dict[str, Any]]) -> Table:
    headings: tuple[str, ...]
    cells: list[tuple[str, ...]]
    table = Table(title=str(what), title_justify="left", title_style="bold", box=None, pad_edge=False)
    if what is What.compressors:
        headings = ("id", "role", "effect", "from")
        cells = [(r["id"], r["role"], r["effect"], _origin(r["source"])) for r in rows]
    elif what is What.models:
        headings, cells = ("id", "task", "architecture", "tested on", "workloads", "assets"), [
            (r["id"], r["task"], r["architecture"], f"{r['test_examples']:,} examples", ", ".join(r["workloads"]),
             ", ".join(a["package"] for a in r["assets"]))
            for r in rows
        ]  # fmt: skip
    else:
        headings, cells = (
            ("id", "class", "features", "threads"),
            [(r["id"], r["class"], " ".join(r["features"]), str(r["threads"])) for r in rows],
        )
    for heading in headings:
        table.add_column(heading, header_style="dim", overflow="fold", no_wrap=heading == "id")
    for row in cells:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: names are not markup
    return table


def _origin(module: str) -> str:
    """What a person wants to know of a module's name: that it is ours, or whose it is."""
    package = module.partition(".")[0]
    return "built in" if package == "compressors" else package


def _cannot_run(rows: list[dict[str, Any]]) -> list[Text]:
    return [
        Text(f"{row['id']} cannot run on {on}: {why}", style="dim")
        for row in rows
        for on, why in row["unsupported"].items()
    ]


@app.command()
def table(
    run: Annotated[str | None, typer.Argument(help="A run's id or file; default: the latest.")] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.terminal,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """The table of a stored run."""
    from results.store import read_run, resolve_run
    from results.table import print_terminal, render

    stored = read_run(resolve_run(runs, run))
    if format is Format.terminal:
        print_terminal(stored, Console())
    else:
        typer.echo(render(stored, format), nl=False)


@app.command()
def qualify(
    hardware: Annotated[str, typer.Option(help="A device, or a class.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="The short one that runs start by themselves.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    qualifications: Annotated[Path, typer.Option(help="Where they are kept.")] = QUALIFICATIONS,
    seed: Annotated[int, typer.Option(help="Seed of the order of pairs.")] = 0,
) -> None:
    """Is this machine fit to judge speed by? Exit code 0: qualified, 1: not."""
    from benchmarks.hardware import select
    from benchmarks.progress import Stages
    from benchmarks.qualification.qualify import qualify as measure
    from results.qualification import QualificationStore
    from results.qualification_table import print_qualification
    from results.strict_json import plain

    device = select(hardware)
    store = QualificationStore(qualifications)
    store.check()
    with Stages()("qualify", f"{device.name}: qualification") as report:
        say = functools.partial(print, file=sys.stderr)
        found = measure(device, store, quick=quick, seed=seed, say=say, progress=report)
    if as_json:
        typer.echo(json.dumps(plain(found.to_json()), indent=2))
    else:
        print_qualification(found, store.history(found.fingerprint), Console())
    raise typer.Exit(0 if found.qualified else 1)


@app.command()
def accept(
    run: Annotated[str, typer.Argument(help="A run's id or file.")],
    cases: Annotated[list[str] | None, typer.Argument(help="Cases or patterns such as 'int8-*'; default: all.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reviews the change.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
    baselines: Annotated[Path, typer.Option(help="Where accepted results lie.")] = BASELINES,
) -> None:
    """Make a run's results the baseline of its machine. Targets are not touched by it."""
    from results import baseline as accepted
    from results.store import now, read_run, resolve_run

    stored = read_run(resolve_run(runs, run))
    fingerprint, _ = accepted.fingerprint_of(stored)
    before = accepted.load(baselines, fingerprint) if fingerprint else None
    after, changes, refused = accepted.propose(stored, before, cases or [], when=now()[:10], reason=reason)
    console = Console()
    if changes:
        console.print(_acceptance(changes))
    for record, why in refused:
        console.print(Text(f"not accepted: {record.measure} of {record.case}: {why}", style="dim"))
    if not changes:
        console.print("nothing to accept: no result differs from what is accepted")
    elif dry_run:
        console.print(f"{len(changes)} results would be accepted; nothing was written")
    else:
        path = accepted.save(after, baselines)
        console.print(Text(f"{len(changes)} results accepted in {path}: commit it, so that the change is reviewed"))


def _acceptance(changes: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("measure", "left"), ("case", "left"), ("accepted", "right"), ("now", "right")):
        table.add_column(heading, header_style="dim", overflow="fold", justify=justify)  # type: ignore[arg-type]
    for change in changes:
        measure, case = change.key
        name = HEADLINE[measure]
        old = change.before.value(name) if change.before else None
        new = change.after.value(name)
        table.add_row(measure, Text(case), "–" if old is None else f"{old:.4g}", "–" if new is None else f"{new:.4g}")
    return table


@app.command()
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
