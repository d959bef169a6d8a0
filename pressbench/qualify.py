"""`pressbench qualify`: whether this machine is fit to judge speed by."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pressbench.parameters import Json
from pressbench.places import QUALIFICATIONS


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
) -> None:
    """Is this machine fit to judge speed by? Exit code 0: qualified, 1: not."""
    from benchmarks.hardware import select
    from benchmarks.progress import Stages
    from benchmarks.qualification.qualify import qualify as measure
    from results.history.qualification import QualificationStore
    from results.history.qualification_table import print_qualification
    from results.store.strict_json import plain

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
