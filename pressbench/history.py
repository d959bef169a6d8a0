"""`pressbench history`: how a case came out in every stored run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pressbench.places import BASELINES, RUNS
from pressbench.unreadable import tell


def history(
    case: Annotated[str, typer.Argument(help="A case, such as int8-openvino-minilm-bbc-cpu.")],
    measure: Annotated[
        str | None, typer.Option(help="accuracy, speed, footprint, time, or a number such as peak_memory_bytes.")
    ] = None,
    runs: Annotated[str, typer.Option(metavar="PATH|URL", help="Where records lie.")] = str(RUNS),
    baselines: Annotated[Path, typer.Option(help="Where accepted results lie.")] = BASELINES,
    last: Annotated[int, typer.Option(min=0, help="How many runs have a line of their own; 0: all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """How a case came out in every stored run, with a sparkline for each machine."""
    from results.history.baseline import accepted_runs, read_all
    from results.history.trend import print_history
    from results.store.query import Runs

    with Runs(runs) as stored:
        found = stored.history(case, measure, accepted_runs(read_all(baselines)))
        problems = stored.problems
    if as_json:
        series = [_series_json(one) for one in found]
        typer.echo(json.dumps({"schema": 1, "case": case, "series": series, "problems": problems}, indent=2))
        return
    print_history(found, Console(), last)
    tell(problems)


def _series_json(one: Any) -> dict[str, Any]:
    return {
        "measure": one.measure,
        "number": one.name,
        "workload": one.workload,
        "fingerprint": one.fingerprint,
        "paired": one.paired,
        "results": [
            {
                "run": result.run,
                "started": result.started,
                "machine": result.machine,
                **_number_json(result.number(one.name)),
                "verdict": result.verdict,
                "reason": result.reason,
                "outcome": result.outcome,
                "accepted": result.accepted,
                "measured_on": result.measured_on,
            }
            for result in one.results
        ],
    }


def _number_json(measure: Any) -> dict[str, Any]:
    return {
        key: value for key, value in dataclasses.asdict(measure).items() if key in ("value", "low", "high", "bound")
    }
