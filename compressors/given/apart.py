"""Files of other people are read in a process of their own first: what ends it ends no run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from compressors.given.form import GivenError

SECONDS = 120.0
ROOT = Path(__file__).parents[2]
"""Where the suite's own modules are."""
_ERROR = re.compile(r"^[\w.]+: ")
"""The name of an exception, before its words."""


def read_apart(module: ModuleType, path: Path, said: str) -> dict[str, Any]:
    """What `module`, run as a script on `path`, prints as JSON. Raises GivenError, by its last line where it fails."""
    command = [sys.executable, "-P", "-m", module.__name__, str(path)]  # never a module of the folder that we are in
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": found},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GivenError(f"{said}: reading {path.name} did not end in {SECONDS:g} s") from None
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
        raise GivenError(f"{said}: {path.name} is damaged: reading it ended the process that did ({how})")
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode:
        why = _ERROR.sub("", lines[-1])[:300] if lines else "no reason was given"
        raise GivenError(f"{said}: {path.name} cannot be read: {why}")
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        raise GivenError(f"{said}: {path.name} cannot be read: what read it said nothing of it") from None
