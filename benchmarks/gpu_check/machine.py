"""What the device is, what it reaches, and how it is at the moment."""

from __future__ import annotations

import math

import psutil
import torch

from benchmarks.gpu_check.check import Findings, Setting
from benchmarks.hardware import is_class
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.measure.gpu_state import gpu_state
from benchmarks.measure.probes import probe, times
from benchmarks.qualification.ceilings import REPETITIONS, SIZE, ceilings
from compressors.quantization.fp8_kernels import E4M3

LIMITS = ("driver", "power_limit_w", "sm_clock_mhz", "memory_clock_mhz")
UNITS = {"power_limit_w": "W", "sm_clock_mhz": "MHz", "memory_clock_mhz": "MHz", "memory": "bytes"}


def check_detection(setting: Setting, found: Findings) -> None:
    """The class of the hardware, and all that its fingerprint holds of a GPU."""
    print_ = fingerprint(setting.hardware)
    found.add("hardware class", setting.hardware.hardware_class)
    found.add("fingerprint", print_["hash"])
    found.hold(is_class(setting.hardware.hardware_class), f"no class: {setting.hardware.hardware_class}")
    found.hold(fingerprint(setting.hardware)["hash"] == print_["hash"], "asked again it is another fingerprint")
    setting.needs_cuda("of a CPU the fingerprint was made")
    for name, value in print_["key"]["gpu"].items():
        found.add(name, value, UNITS.get(name, ""))
    for name, value in print_["noted"].get("gpu", {}).items():
        found.add(f"{name} now", value, UNITS.get(name, ""))
    facts = torch.cuda.get_device_properties(setting.device)
    found.add("L2 cache", facts.L2_cache_size, "bytes")
    found.add("multiprocessors", facts.multi_processor_count)
    unread = [name for name in LIMITS if print_["key"]["gpu"][name] is None]
    found.hold(not unread, f"NVML does not tell {', '.join(unread)}")


def check_state(setting: Setting, found: Findings) -> None:
    """Throttling and other processes on the device now, by what a case asks."""
    setting.needs_cuda()
    state = gpu_state(setting.hardware)
    found.hold(not state.unknown, state.unknown)
    found.add("SM clock", state.clock_mhz, "MHz")
    found.add("temperature", state.temperature, "degrees Celsius")
    found.add("throttled for", ", ".join(state.throttled) or "nothing")
    found.add("other processes", len(state.foreign))
    found.hold(not state.throttled, f"throttled: {', '.join(state.throttled)}")
    hidden = sum(not psutil.pid_exists(pid) for pid in state.foreign)
    where = f", {hidden} of them with ids that mean nothing in this container" if hidden else ""
    found.hold(not state.foreign, f"{len(state.foreign)} other processes on the GPU{where}")


def check_ceilings(setting: Setting, found: Findings) -> None:
    """The most that is reached in each type, and in bandwidth: what kernels are held against."""
    if setting.tiny:
        seen: dict[str, float | None] = dict(probe({}, setting.hardware))
        reached = {"bandwidth_gb_s": seen["bandwidth_gb_s"], "fp32_gflop_s": seen["matmul_gflop_s"]}
    else:
        reached = ceilings({}, setting.hardware)
        reached["int8_gflop_s"] = reached.pop("int8_gop_s")
        reached["fp8_gflop_s"] = _fp8(setting)
    for name, value in reached.items():
        found.add(name, value, "GB/s" if name.startswith("bandwidth") else "GFLOP/s")
        wanted = name != "fp8_gflop_s" or _has_fp8(setting)
        found.hold(not wanted or (value is not None and math.isfinite(value) and value > 0), f"{name} is {value}")


def _has_fp8(setting: Setting) -> bool:
    return torch.cuda.get_device_capability(setting.device) >= (8, 9)


def _fp8(setting: Setting) -> float | None:
    if not _has_fp8(setting):
        return None
    size, one = SIZE["cuda"], torch.ones((), device=setting.device)
    a, b = (torch.randn(size, size, device=setting.device).to(E4M3) for _ in range(2))

    def product() -> object:
        return torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.bfloat16)

    times(product, setting.hardware, 2)
    return 2 * size**3 / min(times(product, setting.hardware, REPETITIONS)) / 1e9
