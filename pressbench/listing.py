"""`pressbench list`: the compressors, models and devices that there are."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


class What(StrEnum):
    """What can be listed."""

    compressors = "compressors"
    models = "models"
    hardware = "hardware"


def list_(
    what: Annotated[What | None, typer.Argument(help="Default: all three.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tier: Annotated[str, typer.Option(help="quick, or nightly and full with more variants.")] = "quick",
) -> None:
    """What there is, and for each compressor why it cannot run on a model, where it cannot."""
    from benchmarks.matrix.tiers import check_tier

    check_tier(tier)
    parts = [what] if what else list(What)
    found = {str(part): _LISTINGS[part](tier) for part in parts}
    if as_json:
        typer.echo(json.dumps(found[str(what)] if what else found, indent=2))
        return
    console = Console()
    for part in parts:
        console.print(_tables(part, found[str(part)]))
        if part is What.models:
            console.print()
            console.print(_hub_table(found[str(part)]))
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
    from benchmarks.hardware import detected
    from benchmarks.matrix.cases import role
    from compressors import registry

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
    from benchmarks.zoo.own.shipped import shipped
    from benchmarks.zoo.wheel import WheelAsset

    ours = [
        {
            "id": name,
            "task": model.task.name,
            "architecture": model.spec().architecture,
            "test_examples": model.task.test_examples,
            "workloads": [workload.name for workload in model.workloads_of(tier)],
            "assets": [
                {"name": a.name, "package": f"{a.package}=={a.version}", "license": a.license, "variable": a.variable}
                for a in model.assets
                if isinstance(a, WheelAsset)
            ],
        }
        for name, model in zoo.known_models().items()
    ]
    # Of these nothing is known without asking the hub, which a listing does not.
    hub = [
        {"id": name, "task": one.said.task, "hub": {"model": one.said.model, "data": one.said.data}}
        for name, one in shipped().declared.items()
    ]
    return ours + hub


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
            if "hub" not in r
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


def _hub_table(rows: list[dict[str, Any]]) -> Table:
    title = "models of the hub, run where they are named"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("id", "task", "model", "data"):
        table.add_column(heading, header_style="dim", overflow="fold", no_wrap=heading == "id")
    for row in rows:
        if "hub" in row:
            table.add_row(*map(Text, (row["id"], row["task"], row["hub"]["model"], row["hub"]["data"])))
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
