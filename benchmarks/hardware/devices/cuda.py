"""NVIDIA GPUs: class by compute capability (`cuda-sm90`)."""

from __future__ import annotations

import torch

from benchmarks.hardware.devices.cpu import physical_cpus
from compressors.interface import Hardware

CLASS = r"cuda-sm\d+"


def detect() -> list[Hardware]:
    """Every visible CUDA device."""
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        major, minor = torch.cuda.get_device_capability(index)
        sm = f"sm{major}{minor}"
        found.append(
            Hardware(
                f"cuda{index}",
                f"cuda-{sm}",
                frozenset({"cuda", sm}),
                threads=len(physical_cpus()),
                device=f"cuda:{index}",
            )
        )
    return found
