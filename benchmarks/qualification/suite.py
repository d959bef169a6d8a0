"""The quick tier of the built-in models as one run, for the page that is handed over with a machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.matrix.options import ROOT
from compressors.interface import PressbenchError
from results.report.hardware import QUALIFICATION, RECORDS
from results.store.store import list_runs

FINISHED = (0, 1)
"""Exit codes of pytest after a run that came to its end: all passed, or some failed."""


def run_suite(
    folder: Path, hardware: str, qualifications: Path, line: bytes, *, seed: int, models: Sequence[str] = (),
    compressors: Sequence[str] = (),
) -> None:  # fmt: skip
    """Run the cases and leave their records in `folder`, an empty one, with the qualification, a `line` of JSON, beside
    them. The run takes its τ from `qualifications`, where that line is the latest.

    models, compressors: which, all of the quick tier where none is named. Raises PressbenchError where the run did not
    come to its end; what it wrote stays."""
    runs = folder / "runs"
    options = [f"--hardware={hardware}", f"--results={runs}", f"--qualifications={qualifications}", f"--seed={seed}"]
    options += [*(f"--model={name}" for name in models), *(f"--compressor={name}" for name in compressors)]
    command = [sys.executable, "-m", "pytest", str(ROOT / "benchmarks"), *options]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    made = list_runs(runs) if runs.is_dir() else []
    if code not in FINISHED or len(made) != 1:
        raise PressbenchError(f"the run of the suite ended with exit code {code}; what it wrote is in {runs}")
    shutil.copyfile(made[0], folder / RECORDS)
    (folder / QUALIFICATION).write_bytes(line)
