"""Files of other people are read in a process of their own first: what ends it ends no run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from compressors.given.form import GivenError

SECONDS = 120.0
_ERROR = re.compile(r"^[\w.]+: ")
"""The name of an exception, before its words."""


def read_apart(module: ModuleType, path: Path, said: str) -> dict[str, Any]:
    """What `module`, run as a script on `path`, prints as JSON. Raises GivenError, by its last line where it fails."""
    command = [sys.executable, "-m", module.__name__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise GivenError(f"{said}: reading {path.name} did not end in {SECONDS:g} s") from None
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
        raise GivenError(f"{said}: {path.name} is damaged: reading it ended the process that did ({how})")
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode:
        why = _ERROR.sub("", lines[-1])[:300] if lines else "no reason was given"
        raise GivenError(f"{said}: {path.name} cannot be read: {why}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found
