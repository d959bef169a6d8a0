"""Runs to draw tables of, and the table of one as a terminal shows it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import Run, read_run
from results.table.table import render

RUN = "20261121T221530Z-3f2a"
CONTROL: dict[str, Any] = {"role": "control", "verdicts": ("measured", "measured", "measured")}


def case(compressor: str, measure: str = "accuracy", **changes: Any) -> CaseRecord:
    """A record with the keys that every record has."""
    workload = "8x128" if measure == "speed" else None
    model, task = changes.get("model", "minilm"), changes.get("task", "bbc")
    record: dict[str, Any] = {
        "run": RUN,
        "case": "-".join(filter(None, (compressor, model, task, "cpu", workload))),
        "measure": measure,
        "compressor": compressor,
        "model": "minilm",
        "task": "bbc",
        "hardware": "cpu",
        "hardware_class": "cpu-vnni",
        "verdict": "pass",
        "workload": workload,
        "ended": "2026-11-21T22:16:04+00:00",
    }
    return CaseRecord(**record | changes)


def three(
    compressor: str,
    accuracy: tuple[float, float, float, float],
    speed: tuple[float, float, float, float],
    size: float,
    *,
    verdicts: tuple[str, str, str] = ("pass", "pass", "pass"),
    reasons: tuple[str, str, str] = ("", "", ""),
    **changes: Any,
) -> list[CaseRecord]:
    """Accuracy, speed and footprint of one compressor. accuracy: value, then drop, low, high; speed:
    value, low, high, then the ratio over the best control."""
    value, drop, drop_low, drop_high = accuracy
    speedup, low, high, over = speed
    judged = changes.get("role") != "control"
    target = 2.0 if judged and changes.get("effect", "kernel") == "kernel" else None
    measures = [
        {
            "accuracy": Measure(value=value),
            "accuracy_drop": Measure(
                value=drop, low=drop_low, high=drop_high, bound=0.01 if judged else None, verdict=verdicts[0]
            ),
        },
        {
            "speedup": Measure(value=speedup, low=low, high=high, bound=target, verdict=verdicts[1]),
            "speedup_vs_control": Measure(value=over, low=over - 0.04, high=over + 0.03),
        },
        {
            "size_ratio": Measure(value=size, bound=0.3 if judged else None, verdict=verdicts[2]),
            "disk_bytes": Measure(value=int(90_900_000 * size)),
            "peak_memory_bytes": Measure(value=int(182.4 * 2**20)),
            "compress_seconds": Measure(value=74.2),
        },
    ]
    evidence = [{"flips": [3, 5]}, {"pairs": 24, "control": "openvino-fp32"}, {}]
    return [
        case(
            compressor,
            measure,
            verdict=verdicts[i],
            reason=reasons[i],
            measures=measures[i],
            evidence=evidence[i],
            **changes,
        )
        for i, measure in enumerate(("accuracy", "speed", "footprint"))
    ]


def nightly() -> list[CaseRecord]:
    """A night's run on one small machine: two models, every verdict, methods before their references."""
    dense = {"accuracy": Measure(value=0.971)}
    small = {"size_ratio": Measure(value=1.0), "peak_memory_bytes": Measure(value=401 * 2**20)}
    return [
        *three("int8-openvino", (0.968, 0.003, -0.002, 0.009), (2.61, 2.55, 2.70, 1.41), 0.254),
        *three(
            "magnitude-0.9",
            (0.611, 0.36, 0.331, 0.389),
            (0.99, 0.97, 1.01, 0.53),
            0.112,
            effect="storage",
            verdicts=("fail", "measured", "pass"),
            reasons=("drop 36.0 points [33.1, 38.9], allowed 1.0: lost far more than the margin", "", ""),
        ),
        *three(
            "svd-rank-64",
            (0.969, 0.002, -0.004, 0.012),
            (1.93, 1.84, 2.06, 1.04),
            0.302,
            verdicts=("inconclusive", "unqualified", "fail"),
            reasons=(
                "drop 0.2 points [−0.4, +1.2], allowed 1.0: 1,000 examples cannot decide it; 2,400 could",
                "steal time 14 % while timing (10 % allowed)",
                "size 0.302×, allowed 0.300×",
            ),
        ),
        case("gptq-4bit", verdict="unsupported", reason="needs gptqmodel: pip install 'pressbench[gptq]'"),
        case("fp8-dynamic", "speed", verdict="error", reason="the worker was killed (signal 9) after 41 s"),
        case("dense", role="dense", measures=dense, verdict="measured"),
        case("dense", "footprint", role="dense", measures=small, verdict="measured"),
        *three("openvino-fp32", (0.971, 0.0, 0.0, 0.0), (1.85, 1.79, 1.92, 1.0), 1.003, **CONTROL),
        *three("int8-openvino", (0.913, 0.001, -0.003, 0.006), (2.20, 2.11, 2.31, 1.2), 0.26, model="vit-tiny"),
    ]


def write(folder: Path, cases: list[CaseRecord], *, end: bool = True, expected: tuple[str, ...] | None = None) -> Run:
    """A run file with `cases` in it, read back."""
    header = RunHeader(
        run=RUN,
        started="2026-11-21T22:15:30+00:00",
        pressbench="0.1.0",
        options={"tier": "nightly"},
        machine={"name": "Intel Xeon Platinum 8488C", "threads": 2},
        expected=tuple(record.case for record in cases) if expected is None else expected,
    )
    with RunWriter(folder, header) as writer:
        for record in cases:
            writer.write(record)
        if end:
            writer.finish(
                {"compress": 812.4, "speed": 604, "accuracy": 388.1, "train": 0},
                {"compress": 301.2, "speed": 502.0, "accuracy": 0.0},
            )
    return read_run(writer.path)


def terminal(run: Run, width: int = 120) -> str:
    return render(run, "terminal", Console(file=io.StringIO(), width=width, color_system=None))
