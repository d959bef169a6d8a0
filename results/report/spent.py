"""Where the time of a run went: by stage, and the cases that took longest."""

from __future__ import annotations

from dataclasses import dataclass

from results.report.charts import COLOURS, INK, Chart, Columns, Spec, layer, number, spec, word
from results.report.safe import number as finite
from results.store.store import Run
from results.store.tally import latest
from results.table.cells import seconds
from results.table.rows import Summary

SLOWEST = 10


@dataclass(frozen=True)
class Spent:
    """total: as text. stages: (stage, time, share, the least it takes or nothing), longest first. slowest: (measure,
    case, time)."""

    total: str
    stages: list[tuple[str, str, str, str]]
    slowest: list[tuple[str, str, str]]
    chart: Chart | None


def spent(run: Run, what: Summary) -> Spent:
    """What the run's end line says of its stages, and what its records say of each case."""
    known = [(stage, duration) for stage, duration in what.seconds.items() if finite(duration) and duration > 0]
    stages = sorted(known, key=lambda item: -item[1])
    total = sum(duration for _, duration in stages)
    cases = [(sum(max(0.0, finite(s) or 0.0) for s in r.seconds.values()), r) for r in latest(run.cases)]
    cases = sorted((item for item in cases if item[0] > 0), key=lambda item: -item[0])[:SLOWEST]
    chart = None
    if stages:
        label = (
            f"Bars: seconds of {len(stages)} stages, and within them, thin, the least that a stage takes where that is "
            "known; the list beside it has the numbers."
        )
        data: Columns = {
            "stage": [stage for stage, _ in stages],
            "seconds": [float(duration) for _, duration in stages],
            "said": [seconds(duration) for _, duration in stages],
            "least": [float(finite(what.least.get(stage)) or 0.0) for stage, _ in stages],
            "needed": [_least(what, stage) or "not known" for stage, _ in stages],
        }
        chart = Chart("spent", label, {"stages": data})
    return Spent(
        total=seconds(total) if stages else "",
        stages=[
            (stage, seconds(duration), f"{duration / total:.0%}".replace("%", " %"), _least(what, stage))
            for stage, duration in stages
        ],
        slowest=[(record.measure, record.case, seconds(duration)) for duration, record in cases],
        chart=chart,
    )


def _least(what: Summary, stage: str) -> str:
    least = finite(what.least.get(stage))
    return seconds(least) if least and least > 0 else ""


def specs(time: Spent) -> dict[str, Spec]:
    """Name -> specification of the bars."""
    stage = word("stage", axis={"labelLimit": 130, "ticks": False}, sort=None)
    across = number("seconds", "seconds", axis={"tickCount": 5})
    return {
        "spent": spec(
            26 * max(1, len(time.stages)),
            layer("stages", {"type": "bar", "color": COLOURS[1], "height": 16}, x=across, y=stage,
                  tooltip=[word("stage", "stage"), word("said", "time"), word("needed", "at least")]),
            layer("stages", {"type": "bar", "color": COLOURS[0], "height": 5},
                  x=number("least", "seconds", axis={"tickCount": 5}), y=stage),
            layer("stages", {"type": "text", "align": "left", "dx": 4, "color": INK}, x=across, y=stage,
                  text=word("said")),
        )
    }  # fmt: skip
