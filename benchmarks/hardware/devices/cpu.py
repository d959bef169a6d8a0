"""The CPU: its class by the widest instructions that matter to compressed kernels."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import psutil

from benchmarks.hardware.instructions import LIMITS
from compressors.interface import Hardware

FEATURES = {
    "avx2": ("avx2",),
    "avx512": ("avx512f", "avx512bw", "avx512vl"),
    "vnni": ("avx512_vnni", "avx512vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_tile", "amx_int8"),
}
"""feature -> the CPU flags that show it. avx512 and amx need all of theirs, the others any."""

CLASSES = ("amx", "vnni", "avx512", "avx2")
"""From the strongest to the weakest: the first that is there names the class."""

EMULATED = "-emulated"
CLASS = rf"cpu-({'|'.join(CLASSES)}|generic)({EMULATED})?"


@functools.cache
def cpu_info() -> dict[str, Any]:
    """Brand, family, model, stepping and flags, by py-cpuinfo."""
    import cpuinfo

    return dict(cpuinfo.get_cpu_info())


def features(flags: set[str]) -> frozenset[str]:
    """The features that a set of CPU flags shows."""
    together = {"avx512", "amx"}
    return frozenset(
        feature
        for feature, wanted in FEATURES.items()
        if (all if feature in together else any)(flag in flags for flag in wanted)
    )


def physical_cpus() -> list[int]:
    """One logical CPU for each physical core this process may run on: siblings of a core share its
    arithmetic units, and two threads on one core would be timed against each other."""
    allowed = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(psutil.cpu_count() or 1))
    )
    chosen: dict[str, int] = {}
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
                core = file.read().strip()
        except OSError:
            core = str(cpu)
        chosen.setdefault(core, cpu)
    return sorted(chosen.values())


def detect() -> list[Hardware]:
    """The one CPU device, with a thread for each physical core."""
    found = features(set(cpu_info().get("flags", ())))
    strongest = next((c for c in CLASSES if c in found), "generic")
    return [Hardware("cpu", f"cpu-{strongest}", found, threads=len(physical_cpus()))]


def held(name: str) -> Hardware | None:
    """This CPU held to the instructions of a weaker class, `cpu-avx2`: with a class and a name of its own, by which
    nothing that is measured so is taken for that class. None for any other name, and where it does not have them all.
    """
    (own,) = detect()
    feature = name.removeprefix("cpu-").removesuffix(EMULATED)
    if feature not in LIMITS or name not in (f"cpu-{feature}", f"cpu-{feature}{EMULATED}"):
        return None
    left = frozenset({"avx2", "avx512", "vnni"} - set(CLASSES[: CLASSES.index(feature)]))
    if not left < own.features:
        return None
    found = f"cpu-{feature}{EMULATED}"
    return dataclasses.replace(own, name=found, hardware_class=found, features=left, held_to=feature)
