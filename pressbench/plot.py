"""`pressbench plot`: the curves of runs as a file for a paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pressbench.parameters import Devices, Rows, Runs
from pressbench.places import find_run

WRITERS = (".svg", ".pdf", ".png", ".json")


def plot(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="Runs whose points are drawn together, by ids or files. Default: the latest."
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="What to write: .svg, .pdf, .png, or .json for the Vega-Lite specification. Where there are several "
            "plots each gets a file, named after its model.",
        ),
    ] = Path("curve.svg"),
    across: Annotated[
        str, typer.Option("--across", metavar="size|speed|length", help="What the curves run over.")
    ] = "size",
    model: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these models; may repeat.")] = None,
    rows: Rows = None,
    hardware: Devices = None,
    width: Annotated[int, typer.Option(min=200, max=4000, metavar="PIXELS", help="How wide the plot is.")] = 640,
    runs: Runs = None,
) -> None:
    """Draw each method over its strength, quality against size or speed, as a run with --sweep measures it; or its
    speed and its memory over the length of a text."""
    from results.report import curves, lengths
    from results.store.store import read_run
    from results.store.strict_json import ResultsError
    from results.table.choice import Choice, sections_of

    if output.suffix not in WRITERS:
        raise ResultsError(f"--output {output}: must end in {', '.join(WRITERS[:-1])} or {WRITERS[-1]}")
    known = [one.name for one in (*curves.ACROSS, lengths.ACROSS)]
    if across not in known:
        raise ResultsError(f"--across {across}: must be {', '.join(known[:-1])} or {known[-1]}")
    choice = Choice((), tuple(rows or ()), tuple(hardware or ()), None, None)
    wanted: list[str | None] = [*names] if names else [None]
    groups: dict[tuple[str, str, str], list[curves.Row]] = {}
    for name in wanted:
        for section in sections_of(read_run(find_run(runs, name)), choice):
            for row in section.rows:
                if row.measured and (not model or row.first.model in model):
                    groups.setdefault(row.group, []).append(row)
    every = list(groups.values())
    by_length = across == lengths.ACROSS.name
    drawn = lengths.plots(every) if by_length else curves.plots(every, curves.ASKED)
    found = [one for one in drawn if one.across.name == across]
    if not found:
        of = "lengths at which a method was timed" if by_length else "strengths of a method"
        how = "with --tier nightly" if by_length else "--sweep"
        raise ResultsError(
            f"no curve over {across} in {'this run' if len(wanted) == 1 else 'these runs'}: it takes {curves.ASKED} "
            f"{of}, as pytest benchmarks {how} measures them"
        )
    specs = lengths.length_specs(found) if by_length else curves.specs(every, curves.ASKED)
    for number, one in enumerate(found):
        path = output if len(found) == 1 else output.with_stem(f"{output.stem}-{number + 1}")
        _write(curves.standalone(one, specs[one.chart.spec], width=width), path)
        typer.echo(f"{path}: {one.title}, {one.chart.label.partition(' on ')[0].lower()}")


def _write(spec: dict[str, object], path: Path) -> None:
    from results.report.bundle import converter

    convert = converter()
    if path.suffix == ".json":
        path.write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    elif path.suffix == ".svg":
        path.write_text(convert.vegalite_to_svg(spec), encoding="utf-8")
    elif path.suffix == ".pdf":
        path.write_bytes(convert.vegalite_to_pdf(spec))
    else:
        path.write_bytes(convert.vegalite_to_png(spec, scale=2))
