"""Driver, power limit and highest clocks of a GPU are in its fingerprint, by a stand-in for NVML; read, never set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.hardware import fingerprint
from benchmarks.hardware.fingerprint import gpu_limits
from benchmarks.hardware.nvml import opened
from compressors.interface import Hardware, PressbenchError

GPU = Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0")
LIMITS = {"driver": "580.1", "power_limit_w": 700.0, "sm_clock_mhz": 1980, "memory_clock_mhz": 3201}


class NVMLError(Exception):
    pass


def nvml(**more: Any) -> Any:
    """It has no function that sets anything: who calls one fails."""
    shut: list[bool] = []
    return SimpleNamespace(
        NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, shut=shut,
        nvmlInit=lambda: None, nvmlShutdown=lambda: shut.append(True), nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlSystemGetDriverVersion=lambda: "580.1", nvmlDeviceGetPowerManagementLimit=lambda _: 700_000,
        nvmlDeviceGetMaxClockInfo=lambda _, kind: {1: 1980, 2: 3201}[kind],
        nvmlDeviceGetClockInfo=lambda _, kind: {1: 345, 2: 3201}[kind],
        **more,
    )  # fmt: skip


def test_limits_and_clocks_are_read_and_nvml_is_closed() -> None:
    stand_in = nvml()
    assert gpu_limits(GPU, stand_in, "GPU-0") == (LIMITS, {"sm_clock_mhz": 345, "memory_clock_mhz": 3201})
    assert stand_in.shut == [True]


def test_what_is_not_told_is_none() -> None:
    def no(_: Any) -> Any:
        raise NVMLError("not supported")

    stand_in = nvml()
    stand_in.nvmlDeviceGetPowerManagementLimit = no
    assert gpu_limits(GPU, stand_in, "GPU-0")[0] == {**LIMITS, "power_limit_w": None}
    stand_in.nvmlDeviceGetHandleByUUID = no
    assert set(gpu_limits(GPU, stand_in, "GPU-0")[0].values()) == {None}


def test_without_nvml_it_is_none_and_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("benchmarks.hardware.nvml.importlib.import_module", absent)
    limits, now = gpu_limits(GPU)
    assert set(limits) == set(LIMITS) and set(limits.values()) == set(now.values()) == {None}
    with pytest.raises(PressbenchError, match="NVML cannot be read: pip install"), opened(GPU):
        pass


def test_a_limit_is_another_fingerprint_and_a_clock_of_the_moment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_gpu", lambda _: {"name": "a GPU"})
    found = []
    for limits, clock in (
        ({"power_limit_w": 700.0}, 345),
        ({"power_limit_w": 700.0}, 1980),
        ({"power_limit_w": 500.0}, 345),
    ):
        monkeypatch.setattr(fingerprint, "gpu_limits", lambda *_, found=(limits, {"sm_clock_mhz": clock}): found)
        found.append(fingerprint.fingerprint(GPU))
    assert found[0]["key"]["gpu"] == {"name": "a GPU", "power_limit_w": 700.0}
    assert [one["noted"]["gpu"]["sm_clock_mhz"] for one in found] == [345, 1980, 345]
    assert found[0]["hash"] == found[1]["hash"] != found[2]["hash"]
