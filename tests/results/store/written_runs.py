"""Runs of three cases, as a benchmark writes them."""

from __future__ import annotations

from pathlib import Path

from results.store.record import CaseRecord, RunHeader
from results.store.run_writer import RunWriter

RUN = "20261121T221530Z-3f2a"


def header(run: str = RUN, expected: tuple[str, ...] = ("a", "b", "c")) -> RunHeader:
    return RunHeader(run=run, started="2026-11-21T22:15:30+00:00", machine={"threads": 2}, expected=expected)


def case(name: str, measure: str = "accuracy", verdict: str = "pass", run: str = RUN) -> CaseRecord:
    return CaseRecord(
        run=run,
        case=name,
        measure=measure,
        compressor=name,
        model="minilm",
        hardware="cpu",
        verdict=verdict,
        evidence={"correct": [True, False]},
    )


def written(folder: Path, run: str = RUN, end: bool = True) -> Path:
    """A run of three cases."""
    with RunWriter(folder, header(run)) as writer:
        for name in "abc":
            writer.write(case(name, run=run))
        if end:
            writer.finish({"compress": 74.0})
    return writer.path
