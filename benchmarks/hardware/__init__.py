"""Which hardware is there: in `devices` one module a kind of device, each with `detect()` and `CLASS`, the pattern
of its classes, and `held(name)` where one can stand in for a weaker one; one list for all."""

from __future__ import annotations

import dataclasses
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
    """The device of that name, or the first of that class (`cpu-vnni`), or a CPU that can do more, held to that class;
    of a CPU with as many threads as a number behind a colon says (`cpu:1`), each on a core of its own. Raises
    PressbenchError, in one line, where there is none."""
    device, colon, threads = name.partition(":")
    found = detected()
    for hardware in found.values():
        if device in (hardware.name, hardware.hardware_class):
            return _with_threads(hardware, name, threads) if colon else hardware
    for module in _modules():
        if (held := getattr(module, "held", None)) and (hardware := held(device)):
            return _with_threads(hardware, name, threads) if colon else hardware
    known = {*found, *(h.hardware_class for h in found.values())}
    raise PressbenchError(f"unknown hardware {name!r} on this machine{nearest(device, known)}")


def _with_threads(hardware: Hardware, name: str, threads: str) -> Hardware:
    if hardware.device != "cpu":
        raise PressbenchError(f"hardware {name!r}: a number of threads is a CPU's, {hardware.name} has none")
    if not (threads.isascii() and threads.isdigit()) or not 1 <= int(threads) <= hardware.threads:
        cores = f"a whole number from 1 to {hardware.threads}, of the cores that this process may run on"
        raise PressbenchError(f"hardware {name!r}: after the colon there must be {cores}")
    return dataclasses.replace(hardware, name=f"{hardware.name}:{int(threads)}", threads=int(threads))


def device_of(hardware: Hardware) -> str:
    """The name of the device alone, which is one whatever threads or instructions are used of it: what is locked for
    timing."""
    return hardware.name if hardware.device != "cpu" else "cpu"
