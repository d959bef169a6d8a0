"""What decides whether two results may be compared: the machine, the libraries, the threads.

`key` is hashed into every record; a change in it starts a new history. `noted` is stored beside it for
people to read (host name, load, commit) and decides nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cache import content_hash, versions
from benchmarks.hardware.devices.cpu import cpu_info, physical_cpus
from benchmarks.hardware.nvml import opened, told
from compressors.interface import Hardware, PressbenchError

WHERE = ("cpus", "quota", "memory_gib")
"""Parts of the key on which no answer depends: which cores of how many, how long they are had, and what is beside them.
How fast an answer comes does."""
LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "torchao", "numpy")


def fingerprint(hardware: Hardware) -> dict[str, Any]:
    """{"key": …, "noted": …, "hash": SHA-256 of the key, "answers": that of what decides what is answered and not how
    fast} of this machine as it is now."""
    info = cpu_info()
    key: dict[str, Any] = {
        "cpu": {
            name: info.get(name)
            for name in ("brand_raw", "family", "model", "stepping", "l2_cache_size", "l3_cache_size")
        },
        "features": sorted(hardware.features),
        "hardware_class": hardware.hardware_class,
        "cpus": physical_cpus(),
        "threads": hardware.threads,
        "quota": _cpu_quota(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "libraries": versions(*LIBRARIES),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "system": platform.system(),
    }
    clocks: dict[str, Any] = {}
    if "cuda" in hardware.features:
        limits, clocks = gpu_limits(hardware)
        key["gpu"] = {**_gpu(hardware), **limits}
    noted = {
        "host": platform.node(),
        "kernel": platform.release(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "steal_percent": getattr(psutil.cpu_times_percent(interval=0.1), "steal", None),
        "commit": _commit(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **({"gpu": clocks} if clocks else {}),
    }
    answers = {part: value for part, value in key.items() if part not in WHERE}
    return {"key": key, "noted": noted, "hash": content_hash(key), "answers": content_hash(answers)}


def _cpu_quota() -> str | None:
    try:
        return Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _gpu(hardware: Hardware) -> dict[str, Any]:
    import torch

    facts = torch.cuda.get_device_properties(hardware.device)
    return {"name": facts.name, "memory": facts.total_memory, "cuda": torch.version.cuda}


def gpu_limits(hardware: Hardware, nvml: Any = None, uuid: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What decides how fast a GPU may be, by NVML: the driver's version, the power limit in watts, the highest clocks
    in MHz; and its clocks now. None for what cannot be read. nvml, uuid: stand-ins for the tests."""
    limits: dict[str, Any] = dict.fromkeys(("driver", "power_limit_w", "sm_clock_mhz", "memory_clock_mhz"))
    now: dict[str, Any] = dict.fromkeys(("sm_clock_mhz", "memory_clock_mhz"))
    with contextlib.suppress(PressbenchError), opened(hardware, nvml, uuid) as (found, handle):
        limits["driver"] = told(found, found.nvmlSystemGetDriverVersion)
        milliwatts = told(found, lambda: found.nvmlDeviceGetPowerManagementLimit(handle))
        limits["power_limit_w"] = None if milliwatts is None else milliwatts / 1000
        for name, kind in (("sm_clock_mhz", found.NVML_CLOCK_SM), ("memory_clock_mhz", found.NVML_CLOCK_MEM)):
            limits[name] = told(found, partial(found.nvmlDeviceGetMaxClockInfo, handle, kind))
            now[name] = told(found, partial(found.nvmlDeviceGetClockInfo, handle, kind))
    return limits, now


def _commit() -> str | None:
    """The commit of the checkout that runs, where there is one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
