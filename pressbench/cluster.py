"""`pressbench cluster`: which nodes a cluster has, and how a machine becomes one."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pressbench.places import QUALIFICATIONS
from results.store.strict_json import ResultsError


class Do(StrEnum):
    """What is to be done."""

    show = "show"
    head = "head"
    join_ = "join"


def cluster(
    do: Annotated[
        Do,
        typer.Argument(
            metavar="ACTION",
            help="Show its nodes: `show`; begin one on this machine: `head`; make this machine a node: `join`.",
        ),
    ],
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="HOST:PORT of the head; of show also auto and local:N.")
    ] = "auto",
    port: Annotated[int, typer.Option(metavar="N", help="The port of a head.")] = 6379,
    block: Annotated[bool, typer.Option("--block", help="Of head and join: stay until Ray ends.")] = False,
    qualifications: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of each node that qualifications are kept in.")
    ] = QUALIFICATIONS,
) -> None:
    """The nodes of a Ray cluster: of which class each is, and whether it is qualified. head and join start Ray here
    with what pressbench places work by; ray stop ends it."""
    from benchmarks.cluster.identity import labels, resources
    from benchmarks.cluster.nodes import the_library

    if do is Do.show:
        _show(address, qualifications)
        return
    the_library()
    if do is Do.join_ and address == "auto":
        raise ResultsError("pressbench cluster join: needs the HOST:PORT of a head")
    named = ",".join(f"{name}={text}" for name, text in labels().items())
    where = ["--head", f"--port={port}"] if do is Do.head else [f"--address={address}"]
    command = ["start", *where, f"--resources={json.dumps(resources())}", f"--labels={named}", "--disable-usage-stats"]
    command += ["--block"] if block else []
    os.execv(sys.executable, [sys.executable, "-m", "ray.scripts.scripts", *command])


def _show(address: str, qualifications: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchmarks.cluster.nodes import Cluster
    from benchmarks.run.node import standing

    found = Cluster(address)
    try:
        table = Table("node", "class", "qualified", "remark", box=None, pad_edge=False)
        for node in found.nodes():
            refusal = node.refusal(found.libraries)
            told = "–" if refusal else found.ask(node, standing, str(qualifications))
            table.add_row(node.address, ", ".join(node.classes) or "–", told, refusal or "")
        Console().print(table)
    finally:
        found.close()
