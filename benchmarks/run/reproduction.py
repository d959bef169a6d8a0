"""The command that runs one case again, as the message of a failure gives it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def reproduction(test: str, option: Callable[[str], Any], files: Mapping[str, Path]) -> str:
    """test: its id in pytest. option: an option's value by its name, as `--tier`. files: the usual ones, by option."""
    parts = [
        f" --{name} {shlex.quote(value)}"
        for name in ("model", "compressor", "hardware", "set", "within")
        for value in option(f"--{name}") or []
    ]
    own = dict.fromkeys(("data", "task", "test-data", "zoo"))
    usual = {"tier": "quick", "seed": 0, "tau": None, **own, **{name: str(path) for name, path in files.items()}}
    parts += [f" --{name}" for name in ("no-qualify", "unqualified-ok", "allow-pickle") if option(f"--{name}")]
    parts += [
        f" --{name} {shlex.quote(str(option(f'--{name}')))}"
        for name, value in usual.items()
        if option(f"--{name}") != value
    ]
    return f'pytest "{test}"{"".join(parts)}'
