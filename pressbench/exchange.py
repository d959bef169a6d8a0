"""`pressbench import` and `pressbench export`: runs from and for pytest-benchmark."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pressbench.parameters import Runs
from pressbench.places import RUNS, find_run


class Foreign(StrEnum):
    """Whose file it is."""

    pytest_benchmark = "pytest-benchmark"


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that pytest --benchmark-json wrote.")],
    runs: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the run to.")] = RUNS,
) -> None:
    """Keep a file of pytest-benchmark as history. Its times are never compared with speed-ups."""
    from results.exchange.pytest_benchmark_json import to_run
    from results.store.run_writer import RunWriter
    from results.store.strict_json import ResultsError
    from results.store.text import shown

    where = shown(str(file))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ResultsError(f"{where}: cannot be read: {error.strerror}") from None
    header, records = to_run(content, where)
    if (runs / f"{header.run}.jsonl").exists():
        raise ResultsError(f"{where}: imported already, as run {header.run}")
    with RunWriter(runs, header) as writer:
        for record in records:
            writer.write(record)
        writer.finish()
    typer.echo(f"{len(records)} benchmarks imported as run {header.run}")


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its id, the beginning or end of it, or its file.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    format: Annotated[
        Foreign, typer.Option(metavar="PROGRAM", help="For which program: pytest-benchmark.")
    ] = Foreign.pytest_benchmark,
    runs: Runs = None,
) -> None:
    """Write a run's timed cases for `pytest-benchmark compare`."""
    from results.exchange.pytest_benchmark_json import from_run
    from results.store.store import read_run
    from results.store.strict_json import ResultsError, plain
    from results.store.text import shown

    found = plain(from_run(read_run(find_run(runs, run))))
    try:
        output.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="ascii")
    except OSError as error:
        raise ResultsError(f"{shown(str(output))}: cannot be written: {error.strerror}") from None
    count = len(found["benchmarks"])
    typer.echo(f"{count} timed cases written to {shown(str(output))}")
