"""`pressbench qualify`: whether this machine is fit to judge speed by."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pressbench.parameters import Json
from pressbench.places import QUALIFICATIONS
from results.store.strict_json import ResultsError


def qualify(
    hardware: Annotated[
        str, typer.Option(metavar="NAME", help="A device or a class of device, as cpu; see pressbench list.")
    ] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the short qualification that runs start by themselves.")
    ] = False,
    as_json: Json = False,
    qualifications: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that qualifications are kept in.")
    ] = QUALIFICATIONS,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the order of pairs.")] = 0,
    suite: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Then run the quick tier of the built-in models, and leave in this folder a page to hand over with "
            "the machine: each promise of its class kept or not, how near each case comes to the machine's ceiling.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of --suite these built-in models alone; may be repeated.")
    ] = None,
    compressor: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of --suite these methods alone; may be repeated.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure nothing: is the page in this folder what its records make?"),
    ] = None,
) -> None:
    """Is this machine fit to judge speed by? Exit code 0: qualified, with --suite every promise kept too; 1: not."""
    if check is not None:
        raise typer.Exit(_check(check))
    if quick and suite:
        raise ResultsError("--suite: needs the whole qualification, without --quick: the short one has too few rounds")
    for name, given in (("--model", model), ("--compressor", compressor)):
        if given and not suite:
            raise ResultsError(f"{name}: only with --suite")

    from benchmarks.hardware import select
    from benchmarks.progress import Stages
    from benchmarks.qualification.qualify import qualify as measure
    from results.history.qualification import QualificationStore
    from results.history.qualification_table import print_qualification
    from results.store.strict_json import encode, plain

    device = select(hardware)
    store = QualificationStore(qualifications)
    store.check()
    if suite is not None:
        _empty(suite)
    with Stages()("qualify", f"{device.name}: qualification") as report:
        say = functools.partial(print, file=sys.stderr)
        found = measure(device, store, quick=quick, seed=seed, say=say, progress=report)
    if as_json:
        typer.echo(json.dumps(plain(found.to_json()), indent=2))
    else:
        print_qualification(found, store.history(found.fingerprint), Console())
    fit = found.qualified
    if suite is not None:
        from benchmarks.qualification.suite import run_suite
        from results.report.hardware import HTML, MARKDOWN, pages
        from results.report.write import write

        line = encode(plain(found.to_json()))
        run_suite(
            suite, hardware, qualifications.resolve(), line, seed=seed, models=model or (), compressors=compressor or ()
        )
        made = pages(suite)
        write(made.html, suite / HTML)
        write(made.markdown, suite / MARKDOWN)
        typer.echo(f"{suite / HTML}: {'fit' if made.fit else 'not fit'}; the same as text in {MARKDOWN}")
        fit = made.fit
    raise typer.Exit(0 if fit else 1)


def _empty(folder: Path) -> None:
    """Make the folder. Raises ResultsError where there is something in it, which might be another machine's page, and
    where no page could be drawn in the end."""
    if importlib.util.find_spec("jinja2") is None:
        raise ResultsError('--suite: needs the extra report: pip install -c constraints.txt -e ".[report]"')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ResultsError(f"--suite {folder}: is not empty; name a new folder")
    except OSError as error:
        raise ResultsError(f"--suite {folder}: cannot be made: {error.strerror}") from None


def _check(folder: Path) -> int:
    from results.report.hardware import HTML, MARKDOWN, RECORDS
    from results.report.hardware import check as wrong_in

    for line in (wrong := wrong_in(folder)):
        typer.echo(line)
    if not wrong:
        typer.echo(f"{HTML} and {MARKDOWN} are what {RECORDS} makes")
    return 1 if wrong else 0
