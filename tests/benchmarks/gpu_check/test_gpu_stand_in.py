"""What only a GPU can answer, asked of a stand-in: the checks judge its answers. It says nothing of a real one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu_check import clock, energy, machine, memory, timing
from benchmarks.gpu_check.check import Check, Findings, Result, Setting, outcome
from benchmarks.gpu_check.controls import check_control
from benchmarks.gpu_check.energy import check_energy
from benchmarks.gpu_check.generating import check_graph
from benchmarks.gpu_check.machine import check_detection, check_state
from benchmarks.gpu_check.memory import check_memory
from benchmarks.gpu_check.shapes import SMALL, Shapes
from benchmarks.gpu_check.static_cache import StaticDecoder
from benchmarks.gpu_check.timing import check_clocks, check_flush
from benchmarks.measure.gpu_state import GpuState
from compressors.interface import Hardware

GIB = 2**30


@dataclass(frozen=True)
class Pretending(Setting):
    """A CPU that is taken for a GPU."""

    @property
    def cuda(self) -> bool:
        return True

    @property
    def shapes(self) -> Shapes:
        return SMALL


HERE = Pretending(Hardware("cpu", "cuda-sm90", frozenset({"sm90"}), threads=1), ceilings={"bandwidth_gb_s": 4000.0})


def ran(work: Callable[[Setting, Findings], None]) -> tuple[Result, dict[str, Any]]:
    result = outcome(Check("it", "", work), HERE)
    return result, {n.name: n.value for n in result.numbers}


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("events", "kind"), [(0.020, "held"), (0.018, "failed"), (0.025, "failed")])
def test_clocks_that_are_a_tenth_apart_are_told(monkeypatch: pytest.MonkeyPatch, events: float, kind: str) -> None:
    monkeypatch.setattr(timing, "suite_seconds", lambda *_: 0.0205)
    monkeypatch.setattr(timing, "device_seconds", lambda *_: events)
    result, numbers = ran(check_clocks)
    assert result.kind == kind and numbers["by events"] == events
    assert kind == "held" or f"events say {1e3 * events:.3f} ms" in result.reason


@pytest.mark.parametrize(("cold", "emptied", "reason"), [
    (5e-6, 5, ""), (3.1e-6, 5, "1.033 times as slow: it is not emptied"), (5e-6, 4, "empties the cache 4 times"),
])  # fmt: skip
def test_a_cache_that_is_not_emptied_is_told(
    monkeypatch: pytest.MonkeyPatch, cold: float, emptied: int, reason: str
) -> None:
    properties = SimpleNamespace(L2_cache_size=2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(timing, "device_seconds", lambda *_, **way: cold if way["cold"] else 3e-6)
    monkeypatch.setattr(timing, "_emptied", lambda _: emptied)
    result, numbers = ran(check_flush)
    assert result.kind == ("failed" if reason else "held") and reason in result.reason
    assert numbers["weight read"] == 2**18


def test_a_call_is_measured_by_events_after_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("event")

        def synchronize(self) -> None:
            log.append("waited")

        def elapsed_time(self, other: Any) -> float:
            return 2.0

    buffer = SimpleNamespace(zero_=lambda: log.append("flush"))
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: log.append("sleep") if cycles >= 60_000 else None)
    monkeypatch.setattr(clock, "buffer_bytes", lambda _: 1)
    monkeypatch.setattr(clock.torch, "empty", lambda *_, **__: buffer)
    assert clock.device_seconds(lambda: log.append("call"), "cuda:0", 2) == 0.002
    assert log == ["call"] * 3 + ["flush", "sleep", "event", "call", "event", "waited"] * 2
    log.clear()
    clock.device_seconds(lambda: log.append("call"), "cuda:0", 1, cold=False)
    assert log == ["call"] * 3 + ["sleep", "event", "call", "event", "waited"]


# -- the machine -----------------------------------------------------------------------------------


def test_a_driver_that_is_not_told_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"name": "a GPU", "driver": None, "power_limit_w": 700.0, "sm_clock_mhz": 1980, "memory_clock_mhz": 3201}
    made = {"hash": "1", "key": {"gpu": limits}, "noted": {"gpu": {"sm_clock_mhz": 345}}}
    monkeypatch.setattr(machine, "fingerprint", lambda _: made)
    facts = SimpleNamespace(L2_cache_size=2**20, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    result, numbers = ran(check_detection)
    assert (result.kind, result.reason) == ("failed", "NVML does not tell driver")
    assert numbers["sm_clock_mhz now"] == 345 and numbers["power_limit_w"] == 700.0


@pytest.mark.parametrize(("state", "reason"), [
    (GpuState((), (), "", 1980, 41), ""),
    (GpuState(("power cap",)), "throttled: power cap"),
    (GpuState((), (2**22 + 5,)), "1 other processes on the GPU, 1 of them with ids that mean nothing"),
    (GpuState(unknown="NVML: driver not loaded"), "NVML: driver not loaded"),
])  # fmt: skip
def test_throttling_and_others_are_told(monkeypatch: pytest.MonkeyPatch, state: GpuState, reason: str) -> None:
    monkeypatch.setattr(machine, "gpu_state", lambda _: state)
    result, _ = ran(check_state)
    assert result.kind == ("failed" if reason else "held") and reason in result.reason


# -- memory and energy -----------------------------------------------------------------------------


@pytest.mark.parametrize(("peak", "more", "reason"), [
    (1.0, GIB, ""), (0.5, GIB, "is less than weights and cache"), (5000.0, GIB, "is more than"),
    (1.0, 10, "NVML sees 10 bytes more"),
])  # fmt: skip
def test_memory_that_does_not_add_up_is_told(
    monkeypatch: pytest.MonkeyPatch, peak: float, more: int, reason: str
) -> None:
    used = itertools.count(GIB, more)
    expected = [0]

    def cache(*given: Any) -> int:
        found = memory_cache(*given)
        expected[0] = max(expected[0], found)
        return found

    memory_cache = memory.cache_bytes
    weights = memory.arithmetic_bytes(SMALL.models["1B"], 2)
    monkeypatch.setattr(memory, "cache_bytes", cache)
    monkeypatch.setattr(memory, "_used", lambda _: next(used))
    monkeypatch.setattr(memory, "SLACK", 0)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: weights + expected[0])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: int(peak * (weights + expected[0])))
    result, _ = ran(check_memory)
    assert result.kind == ("failed" if reason else "held"), result
    assert reason in result.reason


def counting(step: int) -> Callable[..., Any]:
    """A counter of millijoules that moves by so much whenever it is read."""
    read = itertools.count(10**9, step)
    nvml = SimpleNamespace(nvmlDeviceGetTotalEnergyConsumption=lambda _: next(read))

    @contextlib.contextmanager
    def opened(_: Hardware) -> Iterator[tuple[Any, str]]:
        yield nvml, "handle"

    return opened


def captured_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    monkeypatch.setattr(StaticDecoder, "capture", lambda self, ids: log.append("captured"))
    return log


def test_joules_are_those_of_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    captured_without_a_graph(monkeypatch)
    monkeypatch.setattr(energy, "opened", counting(1000))
    result, numbers = ran(check_energy)
    assert result.kind == "held"
    for label in ("generator", "CUDA graph"):
        assert numbers[f"{label}: a token"] == pytest.approx(1 / numbers[f"{label}: tokens"])


def test_a_counter_that_does_not_move_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    captured_without_a_graph(monkeypatch)
    monkeypatch.setattr(energy, "opened", counting(0))
    result, _ = ran(check_energy)
    assert (result.kind, result.reason) == ("not here", "NVML's counter of energy does not move")


# -- decoding --------------------------------------------------------------------------------------


def test_a_graph_that_makes_other_tokens_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    log = captured_without_a_graph(monkeypatch)
    result, numbers = ran(partial(check_graph, name="1B"))
    assert result.kind == "held" and log == ["captured"] * 2
    assert numbers["fp32: captured as not"] == 5 and numbers["fp32, captured: a token: floor"] > 0

    def spoilt(self: StaticDecoder, ids: Any) -> None:
        self._graph = SimpleNamespace(replay=lambda: self._token.fill_(7))

    monkeypatch.setattr(StaticDecoder, "capture", spoilt)
    result, _ = ran(partial(check_graph, name="1B"))
    assert result.kind == "failed" and "fp32, captured: furthest from the likeliest" in result.reason


def test_a_control_that_answers_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.gpu_check import controls

    monkeypatch.setattr(controls, "BOUNDS", {"bf16": 1e-9})
    result, numbers = ran(partial(check_control, kind="bf16", compiled=False))
    assert result.kind == "failed" and "logits away from eager fp32" in result.reason
    assert 0 < numbers["logits away from eager fp32"] < 0.05
