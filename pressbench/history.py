"""`pressbench history`: how a case came out in every stored run."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer
from rich.console import Console

from pressbench.parameters import Baselines, Json, RunsOrUrl
from pressbench.places import BASELINES, find_runs
from pressbench.unreadable import tell


def history(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case, as int8-openvino-minilm-bbc-cpu.")],
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="accuracy, speed, footprint, time (imported), or a number, as peak_memory_bytes."
        ),
    ] = None,
    runs: RunsOrUrl = None,
    baselines: Baselines = BASELINES,
    last: Annotated[int, typer.Option(min=0, metavar="N", help="How many runs have a line of their own; 0: all.")] = 20,
    as_json: Json = False,
) -> None:
    """How a case came out in every stored run, with a sparkline for each machine."""
    from results.history.baseline import accepted_runs
    from results.history.baseline_file import read_all
    from results.history.trend import print_history
    from results.store.query import Runs

    with Runs(find_runs(runs)) as stored:
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
