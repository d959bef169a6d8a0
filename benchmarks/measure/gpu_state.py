"""The state of an NVIDIA GPU, read through nvidia-ml-py: why it is throttled, and who else uses it.

Read only: clocks, limits and modes are never set. Written from NVML's documentation and tested against a
stand-in; it has not been run on a GPU.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.hardware.nvml import opened
from compressors.interface import Hardware, PressbenchError

REASONS = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slow-down",
    0x0000000000000020: "software thermal slow-down",
    0x0000000000000040: "hardware thermal slow-down",
    0x0000000000000080: "hardware power brake",
}
"""NVML's clock event bits that mean slower than asked for. Idle and clocks set by an application are not."""


@dataclass(frozen=True)
class GpuState:
    """throttled: the reasons now. foreign: process ids of others computing on it. unknown: why neither
    could be read, empty where they could. temperature: degrees Celsius."""

    throttled: tuple[str, ...] = ()
    foreign: tuple[int, ...] = ()
    unknown: str = ""
    clock_mhz: int | None = None
    temperature: int | None = None


def gpu_state(hardware: Hardware, nvml: Any = None, uuid: str | None = None) -> GpuState:
    """The state of the device now. nvml, uuid: stand-ins for the tests."""
    try:
        with opened(hardware, nvml, uuid) as (found, handle):
            bits = int(found.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
            running = [int(p.pid) for p in found.nvmlDeviceGetComputeRunningProcesses(handle)]
            clock = int(found.nvmlDeviceGetClockInfo(handle, found.NVML_CLOCK_SM))
            warmth = int(found.nvmlDeviceGetTemperature(handle, found.NVML_TEMPERATURE_GPU))
    except PressbenchError as error:
        return GpuState(unknown=str(error))
    me = psutil.Process()
    ours = {os.getpid(), *(child.pid for child in me.children(recursive=True))}
    reasons = tuple(name for bit, name in REASONS.items() if bits & bit)
    return GpuState(reasons, tuple(pid for pid in running if pid not in ours), "", clock, warmth)
