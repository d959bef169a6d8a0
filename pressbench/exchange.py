"""`pressbench import` and `pressbench export`: runs from and for pytest-benchmark."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pressbench.places import RUNS


class Foreign(StrEnum):
    """Whose file it is."""

    pytest_benchmark = "pytest-benchmark"


def import_(
    file: Annotated[Path, typer.Argument(help="A file that pytest --benchmark-json wrote.")],
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """Keep a file of pytest-benchmark as history. Its times are never compared with speed-ups."""
    from results.exchange.pytest_benchmark_json import to_run
    from results.store.store import RunWriter
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
    run: Annotated[str, typer.Argument(help="A run's id or file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    format: Annotated[Foreign, typer.Option(help="For which program.")] = Foreign.pytest_benchmark,
    runs: Annotated[Path, typer.Option(help="Where records lie.")] = RUNS,
) -> None:
    """Write a run's timed cases for `pytest-benchmark compare`."""
    from results.exchange.pytest_benchmark_json import from_run
    from results.store.store import read_run, resolve_run
    from results.store.strict_json import ResultsError, plain
    from results.store.text import shown

    found = plain(from_run(read_run(resolve_run(runs, run))))
    try:
        output.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="ascii")
    except OSError as error:
        raise ResultsError(f"{shown(str(output))}: cannot be written: {error.strerror}") from None
    count = len(found["benchmarks"])
    typer.echo(f"{count} timed cases written to {shown(str(output))}")
