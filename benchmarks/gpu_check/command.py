"""What `python -m benchmarks.gpu_check` does once all packages are there."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.check import Check, Result, Setting
from benchmarks.gpu_check.page import counts, write
from benchmarks.gpu_check.runner import run
from benchmarks.gpu_check.screen import Screen
from benchmarks.hardware import select
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.measure import forkserver

INTERRUPTED = 130


def check_all(
    device: str, small: bool, seconds: float, folder: Path, checks: Sequence[Check], screen: Screen | None = None
) -> int:
    """Run the checks and keep what they find in `folder`; the exit code. Raises PressbenchError, in one line, where
    there is no such device."""
    forkserver.begin()
    setting = Setting(select(device), small)
    machine = _machine(setting)
    screen = screen or Screen(len(checks))

    def ends(found: Sequence[Result]) -> None:
        screen.ends(found)
        write(folder, machine, found)

    with screen:
        results, stopped = run(checks, setting, seconds, begins=screen.begins, steps=screen.steps, ends=ends)
    told = ", ".join(f"{count} {kind}" for kind, count in counts(results).items())
    screen.console.print(f"{told}; written to {folder}", markup=False, soft_wrap=True)
    failed = any(one.kind == "failed" for one in results)
    return INTERRUPTED if stopped and not failed else int(failed)


def _machine(setting: Setting) -> dict[str, Any]:
    """What is told of where it ran; the host's name is not."""
    print_ = fingerprint(setting.hardware)
    key = print_["key"]
    return {
        "name": key.get("gpu", {}).get("name") or key["cpu"]["brand_raw"],
        "hardware_class": setting.hardware.hardware_class,
        "small": setting.tiny,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            **key["libraries"],
            "Python": key["python"],
            "CUDA": key.get("gpu", {}).get("cuda"),
            "driver": key.get("gpu", {}).get("driver"),
        },
        "fingerprint": {
            **print_,
            "noted": {name: value for name, value in print_["noted"].items() if name != "host"},
        },
    }
