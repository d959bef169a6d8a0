"""Runs of a few plain records, and the numbers that a query finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results.store.query import history
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter

PRINT = "ab" * 32
RUNS = ("20261119T000000Z-aaaa", "20261120T000000Z-bbbb", "20261121T000000Z-cccc")


def record(run: str, case: str = "fast", value: float | None = 2.0, **changes: Any) -> CaseRecord:
    measures = {"speedup": Measure(value=value, low=1.5, high=2.5, bound=1.2, verdict="pass")}
    who = {"run": run, "case": case, "compressor": case, "model": "m", "hardware": "cpu", "fingerprint": PRINT}
    return CaseRecord(**who | {"measure": "speed", "verdict": "pass", "measures": measures} | changes)


def write(folder: Path, run: str, *records: CaseRecord, end: bool = True, **header: Any) -> Path:
    started = f"{run[:4]}-{run[4:6]}-{run[6:8]}T00:00:00+00:00"
    machine = {"name": "here", "hash": PRINT}
    with RunWriter(folder, RunHeader(**{"run": run, "started": started, "machine": machine} | header)) as writer:
        for one in records:
            writer.write(one)
        if end:
            writer.finish()
    return writer.path


def values(folder: Path | str, case: str = "fast", **options: Any) -> list[float | None]:
    (series,) = history(folder, case, **options)
    return series.values
