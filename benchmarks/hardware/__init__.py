"""Which hardware is there: in `devices` one module a kind of device, each with `detect()` and `CLASS`, the pattern
of its classes; one list for all."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from types import ModuleType

from benchmarks.hardware import devices
from compressors.interface import Hardware, PressbenchError
from compressors.registry import nearest


@functools.cache
def _modules() -> list[ModuleType]:
    return [importlib.import_module(f"{devices.__name__}.{one.name}") for one in pkgutil.iter_modules(devices.__path__)]


def is_class(name: str) -> bool:
    """Whether any machine could be of that class: `cpu-vnni` yes, `cpu-vnnni` no."""
    return any(re.fullmatch(module.CLASS, name) for module in _modules())


@functools.cache
def detected() -> dict[str, Hardware]:
    """Every device of this machine by name: `cpu`, `cuda0`, …"""
    found: dict[str, Hardware] = {}
    for module in _modules():
        for hardware in module.detect():
            found[hardware.name] = hardware
    return found


def select(name: str) -> Hardware:
    """The device of that name, or the first of that class (`cpu-vnni`); one line if there is none."""
    found = detected()
    for hardware in found.values():
        if name in (hardware.name, hardware.hardware_class):
            return hardware
    known = {*found, *(h.hardware_class for h in found.values())}
    raise PressbenchError(f"unknown hardware {name!r} on this machine{nearest(name, known)}")
