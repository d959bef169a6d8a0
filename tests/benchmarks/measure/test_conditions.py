"""What the machine did is told from planted counters; one real process shows that the counters are the right ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks.measure import probes
from benchmarks.measure.conditions import Conditions, faults, medians, out_of_range
from benchmarks.measure.gpu_state import GpuState, gpu_state
from benchmarks.measure.watch import Reading, Window, frequencies, read, throttle_count, window, with_siblings
from compressors.interface import Hardware

CPU = Hardware("cpu", "cpu-generic", threads=1)
QUIET = Window(10.0, 0.0, 0.0, 0)


def reading(time: float, **counters: Any) -> Reading:
    return Reading(**{"time": time, "busy": 0.0, "total": 0.0, "steal": 0.0, "ours": 0.0, "throttles": 0} | counters)


# -- counters --------------------------------------------------------------------------------------


def test_shares_are_of_the_processors_time() -> None:
    # Ten seconds on two processors: they were busy for 15 s, 12 of them ours, and 4 s were withheld.
    found = window(reading(5.0), reading(15.0, busy=15.0, total=20.0, steal=4.0, ours=12.0, throttles=3))
    assert (found.seconds, found.throttles) == (10.0, 3)
    assert found.steal == pytest.approx(0.2)
    assert found.foreign == pytest.approx(0.15)


def test_what_cannot_be_read_is_not_zero() -> None:
    found = window(reading(0.0, steal=None, throttles=None), reading(1.0, total=2.0, steal=None, throttles=None))
    assert found.steal is None and found.throttles is None
    assert window(reading(0.0), reading(0.0)).foreign is None


def test_counters_that_tick_at_different_moments_give_no_negative_load() -> None:
    assert window(reading(0.0), reading(1.0, busy=1.0, total=2.0, ours=1.02)).foreign == 0.0


SPIN = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"


@pytest.mark.skipif(os.name != "posix", reason="starts a process that is nobody's child")
def test_a_foreign_process_is_seen_and_our_own_are_not() -> None:
    cpus = range(psutil.cpu_count() or 1)
    shell = f"{sys.executable} -c '{SPIN}' >/dev/null 2>&1 & echo $!"
    stranger = psutil.Process(int(subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout))
    child = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(0.3)
        before, used = read(cpus), sum(stranger.cpu_times()[:2])
        time.sleep(1.2)
        used, after = sum(stranger.cpu_times()[:2]) - used, read(cpus)
        own = after.ours - before.ours
        child_used = sum(psutil.Process(child.pid).cpu_times()[:2])
    finally:
        stranger.kill()
        child.kill()
        child.wait()
    found = window(before, after)
    assert found.foreign is not None
    assert found.foreign * (after.total - before.total) >= 0.7 * used - 0.05, "the stranger's time is foreign"
    assert child_used > 0 and own > 0, "the child's time is ours"


def sysfs(root: Path, cpu: int, siblings: str, throttled: int) -> None:
    for name, text in {
        "topology/thread_siblings_list": siblings,
        "thermal_throttle/core_throttle_count": str(throttled),
        "cpufreq/scaling_cur_freq": "2400000",
        "cpufreq/cpuinfo_max_freq": "3000000",
    }.items():
        path = root / f"cpu{cpu}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_siblings_throttling_and_frequencies_are_read_where_linux_tells(tmp_path: Path) -> None:
    sysfs(tmp_path, 0, "0,4", 2)
    sysfs(tmp_path, 1, "1-2", 5)
    assert with_siblings([0, 1], tmp_path) == [0, 1, 2, 4]
    assert throttle_count([0, 1], tmp_path) == 7
    assert frequencies([0, 1], tmp_path) == {"now_mhz": 2400.0, "most_mhz": 3000.0}
    assert throttle_count([7], tmp_path) is None
    assert frequencies([7], tmp_path) is None
    assert with_siblings([7], tmp_path) == [7]


# -- judgement -------------------------------------------------------------------------------------

USUAL = {"bandwidth_gb_s": 24.0, "matmul_gflop_s": 150.0}
SEEN = {
    "steal": (Window(1, 0.11, 0, 0), USUAL, "steal time 11% (at most 10%)"),
    "throttled": (Window(1, 0, 0, 2), USUAL, "throttled 2 times"),
    "foreign": (Window(1, 0, 0.33, 0), USUAL, "other processes took 33% of the processors (at most 25%)"),
    "bandwidth": (QUIET, {**USUAL, "bandwidth_gb_s": 15.0}, "memory bandwidth 15 GB/s, qualified at 24 (at least 16)"),
    "product": (QUIET, {**USUAL, "matmul_gflop_s": 70.0}, "matrix product 70 GFLOP/s, qualified at 150 (at least 100)"),
    "gpu": (Window(1, 0, 0, None, GpuState(("power cap",))), USUAL, "GPU throttled: power cap"),
    "foreign gpu": (Window(1, 0, 0, None, GpuState((), (7, 8))), USUAL, "2 other processes on the GPU"),
}


@pytest.mark.parametrize("kind", SEEN)
def test_each_fault_is_told_with_number_and_bound(kind: str) -> None:
    seen, after, told = SEEN[kind]
    assert faults(Conditions(seen, [USUAL, after], USUAL)) == [told]


def test_a_quiet_machine_has_no_faults_and_neither_has_one_that_is_faster() -> None:
    faster = {name: 3 * value for name, value in USUAL.items()}
    assert faults(Conditions(Window(1, 0.1, 0.25, None), [USUAL, faster], USUAL)) == []


def test_without_a_qualified_range_probes_are_kept_and_not_judged() -> None:
    conditions = Conditions(QUIET, [{"bandwidth_gb_s": 0.1}])
    assert faults(conditions) == []
    assert conditions.to_json()["probes"] == [{"bandwidth_gb_s": 0.1}]
    assert conditions.to_json()["undisturbed"] is True
    assert Conditions(Window(1, 0.2, 0, 0)).to_json()["undisturbed"] is False


def test_half_of_the_samples_that_made_a_range_are_in_it() -> None:
    samples = [{"bandwidth_gb_s": value} for value in (5.0, 9.0, 20.0, 24.0, 30.0)]
    usual = medians(samples)
    assert usual == {"bandwidth_gb_s": 20.0}
    assert [bool(out_of_range(s, usual)) for s in samples] == [True, True, False, False, False]


# -- probes ----------------------------------------------------------------------------------------


def test_probes_measure_something_and_keep_their_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "array_bytes", lambda _: 2**16)
    state: dict[str, Any] = {}
    assert all(value > 0 for value in probes.probe(state, CPU).values())
    arrays = state["arrays"]
    assert set(probes.probe(state, CPU)) == {"bandwidth_gb_s", "matmul_gflop_s"}
    assert state["arrays"] is arrays
    assert probes.traffic(arrays) == 3 * 2**16


def test_arrays_are_far_above_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**40))
    assert probes.array_bytes(CPU, 32 * 2**20) == 64 * 2**20
    assert probes.array_bytes(CPU, "unknown") == 32 * 2**20
    assert probes.array_bytes(CPU, 2**30) == 512 * 2**20


# -- GPU, by a stand-in ----------------------------------------------------------------------------


class NVMLError(Exception):
    pass


def nvml(bits: int, pids: list[int]) -> Any:
    return SimpleNamespace(
        NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: bits,
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=pid) for pid in pids],
        nvmlDeviceGetClockInfo=lambda *_: 1980, nvmlDeviceGetTemperature=lambda *_: 41,
    )  # fmt: skip


def test_reasons_and_strangers_on_a_gpu() -> None:
    gpu = Hardware("cuda0", "cuda-sm90", device="cuda:0")
    assert gpu_state(gpu, nvml(0x1, [os.getpid()]), "GPU-0") == GpuState((), (), "", 1980, 41)  # idle, and ours
    found = gpu_state(gpu, nvml(0x4 | 0x40, [os.getpid(), 1]), "GPU-0")
    assert found.throttled == ("power cap", "hardware thermal slow-down")
    assert found.foreign == (1,)


def test_a_gpu_that_cannot_be_read_says_why() -> None:
    def fails() -> None:
        raise NVMLError("driver not loaded")

    broken = nvml(0, [])
    broken.nvmlInit = fails
    assert (
        gpu_state(Hardware("cuda0", "cuda-sm90", device="cuda:0"), broken, "GPU-0").unknown == "NVML: driver not loaded"
    )
