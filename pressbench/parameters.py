"""The parameters that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pressbench.formats import Format

LatestRun = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run: its id, the beginning or end of it, or its file. Default: the latest."),
]
Runs = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The folder to look for runs in. Default: results/runs, and where the last run was written if that is "
        "newer.",
    ),
]
RunsOrUrl = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="The runs: a folder, a file, or a URL such as s3://bucket/runs. Default: results/runs, or where the last "
        "run was written if there are none.",
    ),
]
Baselines = Annotated[Path, typer.Option(metavar="DIR", help="The folder with accepted results.")]
Written = Annotated[Format, typer.Option(metavar="FORMAT", help="terminal, markdown, csv, latex or json.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
Rows = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only these compressors or cases, as int8-openvino or 'int8-*'; may repeat."),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only these devices or classes of device, as cpu or 'cpu-*'; may repeat."),
]
Grouped = Annotated[str | None, typer.Option(metavar="NAME", help="Divide the rows by model, hardware or family.")]
Sorted = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Sort by a column, as speedup: its best methods first; last with -speedup."),
]
