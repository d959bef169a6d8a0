"""What the machine did while something was timed: steal time, throttling, the load of others.

Counters are read before and after; `window` turns two readings into shares. Nothing runs in between.
Foreign load is what the processors were busy with, less what this process and its descendants used: it
sees processes of other users and other containers, which a listing of processes would not.
Does not see: another virtual machine on the same host, but for steal time and what the probes show.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measure.gpu_state import GpuState, gpu_state
from compressors.interface import Hardware

SYSFS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Reading:
    """Counters at one moment: seconds summed over the processors that are timed on. None: not to be had."""

    time: float
    busy: float
    total: float
    steal: float | None
    ours: float
    throttles: int | None


@dataclass(frozen=True)
class Window:
    """What happened between two readings. steal, foreign: shares of the processors' time (0.1 is 10 %).
    throttles: how often they were slowed for heat or power. gpu: at its end, None without one."""

    seconds: float
    steal: float | None
    foreign: float | None
    throttles: int | None
    gpu: GpuState | None = None


class Watch:
    """Starts to watch when it is made; `stop` says what happened since."""

    def __init__(self, hardware: Hardware, cpus: Sequence[int]) -> None:
        self._hardware, self._cpus = hardware, with_siblings(cpus)
        self._before = read(self._cpus)

    def stop(self) -> Window:
        """What happened so far; may be asked more than once."""
        gpu = gpu_state(self._hardware) if self._hardware.device != "cpu" else None
        return window(self._before, read(self._cpus), gpu)


def window(before: Reading, after: Reading, gpu: GpuState | None = None) -> Window:
    """What two readings say."""
    total = after.total - before.total
    steal = None
    if total > 0 and before.steal is not None and after.steal is not None:
        steal = max(0.0, after.steal - before.steal) / total
    foreign = None
    if total > 0:  # at its least 0: the counters tick at different moments
        foreign = min(1.0, max(0.0, (after.busy - before.busy) - (after.ours - before.ours)) / total)
    throttles = None
    if before.throttles is not None and after.throttles is not None:
        throttles = max(0, after.throttles - before.throttles)
    return Window(after.time - before.time, steal, foreign, throttles, gpu)


def read(cpus: Sequence[int]) -> Reading:
    """The counters now, of these logical processors."""
    ours = tree_seconds()  # before the processors' counters, so that what they gain meanwhile is not ours
    busy = total = steal = 0.0
    has_steal = False
    times = psutil.cpu_times(percpu=True)
    for cpu in cpus:
        if cpu >= len(times):
            continue
        fields = times[cpu]._asdict()
        work = sum(fields.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
        busy += work
        has_steal |= "steal" in fields
        steal += fields.get("steal", 0.0)
        total += work + fields.get("steal", 0.0) + fields["idle"] + fields.get("iowait", 0.0)
    return Reading(time.perf_counter(), busy, total, steal if has_steal else None, ours, throttle_count(cpus))


def tree_seconds() -> float:
    """CPU seconds of this process and its descendants, those that have ended included: whoever waited for
    one has its time among its own children's."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            total += sum(process.cpu_times()[:4])  # user, system, and both of the children it waited for
    return total


def with_siblings(cpus: Sequence[int], root: Path = SYSFS) -> list[int]:
    """These logical processors and those that share a core with one of them: who runs there, runs here."""
    found = set(cpus)
    for cpu in cpus:
        with contextlib.suppress(OSError, ValueError):
            text = (root / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
            for part in text.split(","):
                first, _, last = part.partition("-")
                found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def throttle_count(cpus: Sequence[int], root: Path = SYSFS) -> int | None:
    """How often these processors were slowed for heat since boot; None where Linux does not tell, as in
    most virtual machines."""
    counts = []
    for cpu in cpus:
        for name in ("core_throttle_count", "package_throttle_count"):
            with contextlib.suppress(OSError, ValueError):
                path = root / f"cpu{cpu}" / "thermal_throttle" / name
                counts.append(int(path.read_text(encoding="ascii")))
    return sum(counts) if counts else None


def frequencies(cpus: Sequence[int], root: Path = SYSFS) -> dict[str, float] | None:
    """{"now_mhz", "most_mhz"} over these processors, to be recorded; None where there is no cpufreq."""
    now, most = [], []
    for cpu in cpus:
        with contextlib.suppress(OSError, ValueError):
            folder = root / f"cpu{cpu}" / "cpufreq"
            now.append(int((folder / "scaling_cur_freq").read_text(encoding="ascii")) / 1000)
            most.append(int((folder / "cpuinfo_max_freq").read_text(encoding="ascii")) / 1000)
    return {"now_mhz": min(now), "most_mhz": max(most)} if now and most else None
