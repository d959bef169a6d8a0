"""NVML, the library of NVIDIA's driver, through nvidia-ml-py: a device's handle. Read only: nothing is ever set."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from compressors import install
from compressors.interface import Hardware, PressbenchError


@contextlib.contextmanager
def opened(hardware: Hardware, nvml: Any = None, uuid: str | None = None) -> Iterator[tuple[Any, Any]]:
    """NVML and its handle of the device, while it is open. nvml, uuid: stand-ins for the tests.

    Raises PressbenchError, in one line, where it is not there, or where anything that is asked of it within fails."""
    try:
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError:
        raise PressbenchError(f"NVML cannot be read: {install.command(['nvidia-ml-py'])}") from None
    try:
        nvml.nvmlInit()
        try:
            yield nvml, nvml.nvmlDeviceGetHandleByUUID(uuid or _uuid(hardware))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise PressbenchError(f"NVML: {error}") from None


def told(nvml: Any, ask: Callable[[], Any]) -> Any:
    """What it answers; None where this device does not say."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def _uuid(hardware: Hardware) -> str:
    """By its own number, since CUDA_VISIBLE_DEVICES renumbers devices for torch and not for NVML."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(hardware.device).uuid}"
