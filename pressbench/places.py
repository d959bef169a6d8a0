"""Where the commands look and write unless they are told, from the current folder."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("results") / "runs"
BASELINES = Path("baselines") / "accepted"
QUALIFICATIONS = Path("results") / "qualifications"
