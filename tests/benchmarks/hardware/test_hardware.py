"""A CPU's class from its flags, as real ones report them; and a device that is not there is one line."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest

from benchmarks import hardware
from benchmarks.hardware import detected, device_of, is_class, select
from benchmarks.hardware import fingerprint as fingerprints
from benchmarks.hardware.devices import cpu
from benchmarks.preparation import preparation
from compressors.interface import Hardware, PressbenchError

# From /proc/cpuinfo of the machines named, the flags about vectors.
SAPPHIRE_RAPIDS = """avx f16c avx2 avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx_vnni avx512_bf16
    avx512vbmi
    avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq amx_bf16 avx512_fp16 amx_tile amx_int8"""
ZEN_4 = """avx f16c avx2 avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512vbmi avx512_vbmi2
    avx512_vnni avx512_bitalg avx512_vpopcntdq"""
CASCADE_LAKE = "avx f16c avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"
SKYLAKE_X = "avx f16c avx2 avx512f avx512dq avx512cd avx512bw avx512vl"
KNIGHTS_LANDING = "avx f16c avx2 avx512f avx512pf avx512er avx512cd"
ALDER_LAKE = "avx f16c avx2 avx_vnni"
HASWELL = "sse4_2 avx f16c avx2 fma"
IVY_BRIDGE = "sse4_2 avx f16c"
GRAVITON_3 = "asimd asimddp sve bf16 i8mm"

CPUS = [
    ("Sapphire Rapids", SAPPHIRE_RAPIDS, "cpu-amx", {"avx2", "avx512", "vnni", "bf16", "amx"}),
    ("Zen 4", ZEN_4, "cpu-vnni", {"avx2", "avx512", "vnni", "bf16"}),
    ("Cascade Lake", CASCADE_LAKE, "cpu-vnni", {"avx2", "avx512", "vnni"}),
    ("Skylake-X", SKYLAKE_X, "cpu-avx512", {"avx2", "avx512"}),
    ("Knights Landing", KNIGHTS_LANDING, "cpu-avx2", {"avx2"}),  # the 512 bits of it that kernels want are missing
    ("Alder Lake", ALDER_LAKE, "cpu-vnni", {"avx2", "vnni"}),
    ("Haswell", HASWELL, "cpu-avx2", {"avx2"}),
    ("Ivy Bridge", IVY_BRIDGE, "cpu-generic", set()),
    (
        "AMX hidden by a hypervisor",
        SAPPHIRE_RAPIDS.replace("amx_int8", ""),
        "cpu-vnni",
        {"avx2", "avx512", "vnni", "bf16"},
    ),
    ("Graviton 3", GRAVITON_3, "cpu-generic", set()),
]


@pytest.mark.parametrize(("flags", "hardware_class", "features"), [c[1:] for c in CPUS], ids=[c[0] for c in CPUS])
def test_a_cpu_is_what_its_flags_show(
    monkeypatch: pytest.MonkeyPatch, flags: str, hardware_class: str, features: set[str]
) -> None:
    monkeypatch.setattr(cpu, "cpu_info", lambda: {"flags": flags.split()})
    (found,) = cpu.detect()
    assert (found.name, found.hardware_class, found.features) == ("cpu", hardware_class, features)
    assert is_class(found.hardware_class)


def test_a_cpu_that_tells_nothing_is_generic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_info", dict)
    assert cpu.detect()[0].hardware_class == "cpu-generic"


@pytest.mark.parametrize(
    ("allowed", "siblings", "chosen"),
    [
        ({0, 1, 2, 3}, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, [0, 1]),
        ({2, 3}, {2: "0,2", 3: "1,3"}, [2, 3]),  # half of each core, by an affinity mask
        ({0, 1, 2, 3}, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, [0, 2]),
        ({0, 1}, {}, [0, 1]),  # the system does not say
    ],
    ids=["hyperthreads", "affinity", "neighbours", "unknown"],
)
def test_one_thread_for_each_core(
    monkeypatch: pytest.MonkeyPatch, allowed: set[int], siblings: dict[int, str], chosen: list[int]
) -> None:
    def topology(path: str, **_: Any) -> io.StringIO:
        number = int(path.split("/cpu/cpu")[1].split("/")[0])
        if number not in siblings:
            raise FileNotFoundError(path)
        return io.StringIO(siblings[number] + "\n")

    monkeypatch.setattr(cpu, "open", topology, raising=False)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: allowed, raising=False)
    assert cpu.physical_cpus() == chosen
    assert cpu.detect()[0].threads == len(chosen)


def test_this_machine_has_a_cpu() -> None:
    found = detected()["cpu"]
    assert found.device == "cpu"
    assert found.threads >= 1
    assert is_class(found.hardware_class)
    assert all(is_class(h.hardware_class) for h in detected().values())


def test_a_device_is_found_by_its_name_and_by_its_class() -> None:
    found = detected()["cpu"]
    assert select("cpu") is select(found.hardware_class) is found


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with four cores and a GPU."""
    devices = [
        Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}), threads=4),
        Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0"),
    ]
    monkeypatch.setattr(hardware, "detected", lambda: {one.name: one for one in devices})


@pytest.mark.parametrize("name", ["cpu:2", "cpu-vnni:2", "cpu:02"])
def test_a_cpu_with_fewer_threads_is_a_device_of_its_own(machine: None, name: str) -> None:
    found = select(name)
    assert found == Hardware("cpu:2", "cpu-vnni", frozenset({"avx2", "vnni"}), threads=2)
    assert device_of(found) == device_of(select("cpu")) == "cpu", "one lock: they are the same cores"
    assert select("cpu").threads == 4


@pytest.mark.parametrize("name", ["cpu:0", "cpu:5", "cpu:", "cpu:-1", "cpu:1.5", "cpu:two", "cpu:²", "cpu:1:1"])
def test_threads_that_cannot_be_had_are_one_line(machine: None, name: str) -> None:
    with pytest.raises(PressbenchError) as told:
        select(name)
    assert str(told.value) == (
        f"hardware {name!r}: after the colon there must be a whole number from 1 to 4, of the cores that this process "
        "may run on"
    )


def test_a_gpu_has_no_threads(machine: None) -> None:
    with pytest.raises(PressbenchError, match="hardware 'cuda0:1': a number of threads is a CPU's, cuda0 has none"):
        select("cuda0:1")


def test_a_worker_has_the_cores_of_its_threads(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "physical_cpus", lambda: [0, 2, 4, 6])
    assert preparation.cpus_of(select("cpu:1")) == [0]
    assert preparation.cpus_of(select("cpu:3")) == [0, 2, 4]


@pytest.mark.parametrize(
    ("change", "speed", "answers"),
    [
        ({}, True, True),
        ({"physical_cpus": [1]}, False, True),
        ({"_cpu_quota": "100000 100000"}, False, True),
        ({"threads": 2}, False, False),
        ({"features": frozenset({"bf16"})}, False, False),
        ({"versions": {"torch": "0"}}, False, False),
        ({"cpu_info": {"brand_raw": "another"}}, False, False),
    ],
    ids=str,
)
def test_answers_are_the_same_on_other_cores_of_the_same_kind_and_speed_need_not_be(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], speed: bool, answers: bool
) -> None:
    device = Hardware("cpu", "cpu-generic")
    before = fingerprints.fingerprint(device)
    of_device = {part: change[part] for part in ("threads", "features") if part in change}
    for name in change.keys() - of_device:
        monkeypatch.setattr(fingerprints, name, lambda *_, name=name: change[name])
    after = fingerprints.fingerprint(dataclasses.replace(device, **of_device))
    assert (before["hash"] == after["hash"], before["answers"] == after["answers"]) == (speed, answers)


@pytest.mark.parametrize("name", ["cqu", "cpu-vnnni", "cuda99", ""])
def test_a_device_that_is_not_there_is_one_line_with_those_that_are(name: str) -> None:
    with pytest.raises(PressbenchError) as told:
        select(name)
    assert str(told.value).startswith(f"unknown hardware {name!r} on this machine; ")
    assert "cpu" in str(told.value).removeprefix(f"unknown hardware {name!r}")
    assert "\n" not in str(told.value)


def test_every_kind_of_hardware_is_one_module_with_its_classes() -> None:
    assert hardware.is_class("cpu-amx") and hardware.is_class("cuda-sm90")
    assert not hardware.is_class("cpu-amx ") and not hardware.is_class("xcuda-sm90")
