"""Checks with faults, which workers import by name."""

from __future__ import annotations

import os
import time

from benchmarks.gpu_check.check import Findings, NotHere, Setting


def holds(setting: Setting, found: Findings) -> None:
    found.step("looking")
    found.add("answer", 42, "bytes")


def raises(setting: Setting, found: Findings) -> None:
    found.add("seen before", 0.5, "s")
    raise ValueError("first line\nsecond line")


def misses(setting: Setting, found: Findings) -> None:
    found.at_most("error", 0.5, 0.25)
    found.at_most("other", float("nan"), 1.0, "s")
    found.at_most("fine", 0.1, 1.0)


def dies(setting: Setting, found: Findings) -> None:
    found.step("the last thing")
    found.add("seen before", 0.5, "s")
    os._exit(3)


def hangs(setting: Setting, found: Findings) -> None:
    time.sleep(60)


def absent(setting: Setting, found: Findings) -> None:
    found.add("seen nevertheless", 1)
    raise NotHere("needs CUDA")


def interrupts(setting: Setting, found: Findings) -> None:
    raise KeyboardInterrupt
