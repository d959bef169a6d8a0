"""`pressbench list`: the compressors, models and devices that there are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pressbench.parameters import Json


class What(StrEnum):
    """What can be listed."""

    compressors = "compressors"
    models = "models"
    hardware = "hardware"


def list_(
    what: Annotated[
        What | None, typer.Argument(metavar="compressors|models|hardware", help="What to list. Default: all three.")
    ] = None,
    as_json: Json = False,
    tier: Annotated[
        str, typer.Option(metavar="TIER", help="Only what this tier runs: quick, nightly, or full for all there is.")
    ] = "full",
) -> None:
    """What there is, and for each compressor where it runs."""
    from benchmarks.matrix.tiers import check_tier

    check_tier(tier)
    parts = [what] if what else list(What)
    found = {str(part): _LISTINGS[part](tier) for part in parts}
    if as_json:
        typer.echo(json.dumps(found[str(what)] if what else found, indent=2))
        return
    console = Console(width=max(80, shutil.get_terminal_size().columns))
    for part in parts:
        for block in _SHOWN[part](found[str(part)]):
            console.print(block)
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
    quick, nightly = registry.variants(), registry.variants("nightly")
    for name, compressor in registry.variants(tier).items():
        on = [model.name for model in zoo.known_models().values() if name in model.also]
        unsupported = {
            f"{model.name}-{hardware.name}": reason
            for model in zoo.known_models().values()
            for hardware in detected().values()
            if (reason := registry.unsupported_reason(compressor, model.spec(), hardware))
        }
        listing.append(
            {
                "id": name,
                "method": compressor.name,
                "role": role(compressor),
                "tier": "quick" if name in quick else "nightly" if name in nightly else "full",
                "also_quick_on": on,
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


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], wraps: Sequence[str] = ()) -> Table:
    """wraps: headings of the columns that may go on in the next line, at blanks."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, header_style="dim", overflow="fold", no_wrap=heading not in wraps)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: names are not markup
    return table


def _compressors(rows: list[dict[str, Any]]) -> Iterator[Any]:
    """A line a method, then why it does not run where it does not, each reason once."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        methods.setdefault(row["method"], []).append(row)
    cells = []
    for name, variants in methods.items():
        first = variants[0]
        cells.append((name, first["family"], first["effect"], _strengths(name, variants), _runs_on(variants)))
    by_role = sorted(cells, key=lambda cell: _ROLES.index(methods[cell[0]][0]["role"]))
    yield _table("compressors", ("id", "family", "effect", "strengths", "models"), by_role, ("strengths",))
    marks = "* is in the quick tier, + there on some models, ^ in full alone, all others in nightly and full"
    yield Text(f"id-strength names one; {marks}", style="dim")
    for name, variants in methods.items():
        whys: dict[str, set[str]] = {}
        for row in variants:
            for on, why in row["unsupported"].items():
                whys.setdefault(_general(why, name), set()).add(on.rpartition("-")[0])
        for why, models in whys.items():
            yield Text(f"{name}, not on {', '.join(sorted(models))}: {why}", style="dim")


_ROLES = ("dense", "control", "method")


def _strengths(name: str, variants: list[dict[str, Any]]) -> str:
    """`50* 30 70 90^`: what follows the method's name in the ids, a dash for the name alone."""
    found = []
    for row in variants:
        suffix = row["id"].removeprefix(name).lstrip("-") or "–"
        mark = "*" if row["tier"] == "quick" else "+" if row["also_quick_on"] else "^" if row["tier"] == "full" else ""
        found.append(suffix + mark)
    return " ".join(found)


def _runs_on(variants: list[dict[str, Any]]) -> str:
    from benchmarks import zoo

    models = list(zoo.known_models())
    able = [
        name
        for name in models
        if any(not any(on.startswith(f"{name}-") for on in row["unsupported"]) for row in variants)
    ]
    return "all" if len(able) == len(models) else f"{len(able)} of {len(models)}"


def _general(why: str, name: str) -> str:
    """A reason without the step it came from and the layer it was first seen at: told once for all."""
    return re.sub(r"^(model|encoder|bert|vit)[\w.]*: ", "", why.removeprefix(f"{name}: "))


def _models(rows: list[dict[str, Any]]) -> Iterator[Any]:
    ours = [
        (r["id"], r["task"], r["architecture"], f"{r['test_examples']:,}", " ".join(r["workloads"]))
        for r in rows
        if "hub" not in r
    ]
    yield _table("models", ("id", "task", "architecture", "tested on", "workloads"), ours, ("workloads",))
    for row in rows:
        if packages := [asset["package"] for asset in row.get("assets", ())]:
            yield Text(f"{row['id']} is made from {', '.join(packages)}", style="dim")
    if any("hub" in row for row in rows):
        yield Text("\nmodels of the hub, run where they are named", style="bold")
    for row in rows:
        if "hub" in row:  # names of the hub are long, and no column is wide enough for two
            yield Text(f"{row['id']}: {row['task']}, {row['hub']['model']} on {row['hub']['data']}")


def _hardware(rows: list[dict[str, Any]]) -> Iterator[Any]:
    cells = [(r["id"], r["class"], " ".join(r["features"]), str(r["threads"])) for r in rows]
    yield _table("hardware", ("id", "class", "features", "threads"), cells, ("features",))


_SHOWN: dict[What, Callable[[list[dict[str, Any]]], Iterator[Any]]] = {
    What.compressors: _compressors,
    What.models: _models,
    What.hardware: _hardware,
}
