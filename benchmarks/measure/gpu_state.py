"""The state of an NVIDIA GPU, read through nvidia-ml-py: why it is throttled, and who else uses it.

Read only: clocks, limits and modes are never set. Written from NVML's documentation and tested against a
stand-in; it has not been run on a GPU.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

import psutil

from compressors import install
from compressors.interface import Hardware

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
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError:
        return GpuState(unknown=f"throttling and other processes cannot be read: {install.command(['nvidia-ml-py'])}")
    try:
        nvml.nvmlInit()
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid or _uuid(hardware))
            bits = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
            running = [int(p.pid) for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
            clock = int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
            warmth = int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return GpuState(unknown=f"NVML: {error}")
    me = psutil.Process()
    ours = {os.getpid(), *(child.pid for child in me.children(recursive=True))}
    reasons = tuple(name for bit, name in REASONS.items() if bits & bit)
    return GpuState(reasons, tuple(pid for pid in running if pid not in ours), "", clock, warmth)


def _uuid(hardware: Hardware) -> str:
    """By its own number, since CUDA_VISIBLE_DEVICES renumbers devices for torch and not for NVML."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(hardware.device).uuid}"
