"""A folder of many runs, to time queries on: `python tests/results/million.py FOLDER`, then the same with `--time`.

Records are small ones of the kind that runs on real models write: 14 pairs of timings, 64 predictions. Each is
made by `results.store.record` once for every case and measure; after that only the run, the time and the numbers
differ.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from results.store.record import CaseRecord, Measure, RunEnd, RunHeader, to_line

MODELS = ("minilm-bbc", "vit-digits", "bert-base", "gpt-small", "t5-tiny")
METHODS = 34
MACHINES = 10
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_NUMBER = 0.123454321  # stands where a number of the run's own is put


def case_name(index: int) -> str:
    """The name of the case with this number."""
    return f"method-{index // len(MODELS):02d}-{MODELS[index % len(MODELS)]}-cpu"


def write_runs(folder: Path, runs: int = 2000, records: int = 500, seed: int = 0) -> None:
    """Write `runs` run files of `records` case records each."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    templates = list(_templates(records))
    for number in range(runs):
        started = FIRST + timedelta(hours=8 * number)
        run = f"{started:%Y%m%dT%H%M%SZ}-{number % 65536:04x}"
        print_ = f"{number % MACHINES:064x}"
        when = started.isoformat(timespec="seconds")
        machine = {"name": f"machine {number % MACHINES}", "threads": 2, "hash": print_, "key": {"cpus": [0, 1]}}
        lines = [to_line(RunHeader(run=run, started=when, pressbench="0.1.0", machine=machine))]
        for template in templates:
            text = template.replace("@run@", run).replace("@when@", when).replace("@print@", print_)
            lines.append(re.sub(str(_NUMBER), lambda _: repr(chance.lognormvariate(0.7, 0.05)), text).encode("ascii"))
        lines.append(to_line(RunEnd(run=run, ended=when, expected=records, executed=records)))
        (folder / f"{run}.jsonl").write_bytes(b"".join(lines))


def _templates(records: int) -> Iterator[str]:
    for index in range(records):
        case, (measure, names, evidence) = case_name(index // 3), _KINDS[index % 3]
        model = MODELS[index // 3 % len(MODELS)]
        record = CaseRecord(
            run="@run@",
            case=case,
            measure=measure,
            compressor=case.removesuffix(f"-{model}-cpu"),
            model=model,
            hardware="cpu",
            verdict="pass",
            family="quantization",
            effect="kernel",
            parameters={"compressor": "method", "bits": 8, "group": 64},
            task="bbc-news",
            hardware_class="cpu-vnni",
            workload="8x128" if measure == "speed" else None,
            reason="2.831x [2.659, 3.198], target 2.2x, 14 pairs, decided at 14",
            measures={n: Measure(value=_NUMBER, low=_NUMBER, high=_NUMBER, bound=2.2, verdict="pass") for n in names},
            evidence=evidence,
            seconds={"case": 9.305},
            recipe=({"compressor": "method", "parameters": {"bits": 8}, "seconds": 47.4},),
            artifact="b9b25ada2195dfee91592cda6ed7974219b062f44bf9b5a5f2e83290a4795562",
            fingerprint="@print@",
            ended="@when@",
        )
        yield to_line(record).decode("ascii")


_KINDS = (
    ("accuracy", ("accuracy", "accuracy_drop"), {"predictions": [1, 0, 3, 2] * 16, "labels": [1, 0, 3, 3] * 16}),
    (
        "speed",
        ("speedup", "speedup_vs_control"),
        {"pairs": 14, "orders": ["dbc"] * 14}
        | {f"{who}_seconds": [0.16245678199993563] * 14 for who in ("dense", "compressed", "control")},
    ),
    ("footprint", ("size_ratio", "disk_bytes", "peak_memory_bytes"), {"operators": {"Linear": 14, "LayerNorm": 5}}),
)


def report_times(folder: Path) -> None:
    """Print how long queries take: the first one, which parses every file, and those after it."""
    asks = {
        "history": f"len(runs.history({case_name(7)!r}, 'speed')[0].results)",
        "latest table": "len(runs.latest())",
    }
    # In a process of its own each, as a command is; what importing takes is told too.
    program = (
        "import sys, time; a = time.perf_counter(); from results.store.query import Runs; b = time.perf_counter()\n"
        "with Runs(sys.argv[1]) as runs: n = {ask}\n"
        "print(f'{{n}} rows in {{time.perf_counter() - b:.2f}} s, importing {{b - a:.2f}} s')"
    )
    files = [path.stat().st_size for path in folder.glob("*.jsonl")]
    print(f"{len(files)} runs, {sum(files) / 1e9:.2f} GB, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PRESSBENCH_CACHE": cache}
        for name in ("history", "history", "latest table", "history", "latest table"):
            command = [sys.executable, "-c", program.format(ask=asks[name]), os.fspath(folder)]
            start, used = time.perf_counter(), os.times()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            wall, now = time.perf_counter() - start, os.times()
            cpu = now.children_user + now.children_system - used.children_user - used.children_system
            print(f"{name}: {done.stdout.strip()}, whole process {wall:.2f} s, of processors {cpu:.2f} s")
        index = sum(path.stat().st_size for path in Path(cache).rglob("*.duckdb"))
        print(f"index: {index / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--records", type=int, default=500, help="case records a run")
    parser.add_argument("--time", action="store_true", help="time queries on what is there")
    options = parser.parse_args()
    if options.time:
        report_times(options.folder)
    else:
        write_runs(options.folder, options.runs, options.records)
