"""A CPU held to the instructions of a weaker class: which there are, that libraries keep to them, and that
nothing of it is taken for that class."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[2])]
import tiny_models
from matrix_run import NO_TARGETS, ROOT, Place, finish
from test_hardware import ALDER_LAKE, CASCADE_LAKE, HASWELL, SAPPHIRE_RAPIDS, SKYLAKE_X, ZEN_4

from benchmarks import hardware
from benchmarks.hardware import detected, device_of, is_class, select
from benchmarks.hardware.devices import cpu
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.hardware.instructions import LIMITS, check
from benchmarks.measure import stages
from benchmarks.measure.worker import Worker
from benchmarks.zoo.dense import write_examples
from compressors import conformance, registry
from compressors.interface import Hardware, ModelSpec, PressbenchError, Unsupported
from compressors.runtimes.compiled import compiler_reason
from compressors.runtimes.openvino_held import LIMIT, told_where_held
from results.store.store import list_runs, read_run

strong = pytest.mark.skipif(
    "avx512" not in detected()["cpu"].features, reason="this CPU has no AVX512 that could be left unused"
)


@pytest.mark.parametrize(
    ("flags", "classes"),
    [
        (SAPPHIRE_RAPIDS, {"avx2", "avx512", "vnni"}),
        (ZEN_4, {"avx2", "avx512", "vnni"}),  # without its bf16
        (CASCADE_LAKE, {"avx2", "avx512"}),
        (SKYLAKE_X, {"avx2"}),
        (ALDER_LAKE, {"avx2"}),
        (HASWELL, set()),
    ],
    ids=["Sapphire Rapids", "Zen 4", "Cascade Lake", "Skylake-X", "Alder Lake", "Haswell"],
)
def test_a_cpu_stands_in_for_what_it_has_more_than(
    monkeypatch: pytest.MonkeyPatch, flags: str, classes: set[str]
) -> None:
    monkeypatch.setattr(cpu, "cpu_info", lambda: {"flags": flags.split()})
    (own,) = cpu.detect()
    found = {name: held for name in LIMITS if (held := cpu.held(f"cpu-{name}"))}
    assert set(found) == classes
    for name, held in found.items():
        assert held == cpu.held(f"cpu-{name}-emulated")
        assert held.features < own.features and name in held.features and held.held_to == name
        assert held.hardware_class == held.name == f"cpu-{name}-emulated" and is_class(held.hardware_class)
        assert device_of(held) == "cpu", "it is the same cores: both are not timed at once"
    assert cpu.held("cpu") is None and cpu.held("avx2") is None and cpu.held("cpu-amx") is None


def test_a_class_is_its_own_before_it_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(flags: str) -> None:
        monkeypatch.setattr(cpu, "cpu_info", lambda: {"flags": flags.split()})
        monkeypatch.setattr(hardware, "detected", lambda: {h.name: h for h in cpu.detect()})

    machine(HASWELL)
    assert select("cpu-avx2").held_to is None
    with pytest.raises(PressbenchError, match="unknown hardware 'cpu-vnni' on this machine"):
        select("cpu-vnni")
    machine(CASCADE_LAKE)
    assert select("cpu-vnni").held_to is None
    assert select("cpu-avx2").held_to == "avx2"
    one = select("cpu-avx2:1")
    assert (one.name, one.threads, one.held_to) == ("cpu-avx2-emulated:1", 1, "avx2")


def capability(state: dict[str, Any]) -> str:
    return torch.backends.cpu.get_cpu_capability()


@strong
def test_a_worker_is_held_and_no_other_is() -> None:
    with Worker("held", threads=1, held_to="avx2") as held, Worker("free", threads=1) as free:
        assert held.call(capability) == "AVX2"
        assert free.call(capability) == torch.backends.cpu.get_cpu_capability() != "AVX2"


@strong
def test_what_openvino_cannot_do_held_is_told_and_the_rest_answers(tmp_path: Path) -> None:
    subject, inputs = conformance.subject("bert"), tmp_path / "inputs.safetensors"
    write_examples(subject.examples, inputs)
    cpu_ = Hardware("cpu-avx2-emulated", "cpu-avx2-emulated", threads=1, held_to="avx2")
    for name, few_bits in (("openvino-fp32", False), ("weight-only-openvino-8bit", True)):
        made = conformance._made(registry.variants("nightly")[name].steps, "bert").directory
        with Worker(name, threads=1, held_to="avx2") as held:
            try:
                held.call(stages.load, made, cpu_)
                assert np.isfinite(held.call(stages.sketches, inputs, [0, 1], 2)).all()
            except Unsupported as error:  # no kernel where the processor has AVX512, of some processors
                assert few_bits and "oneDNN held to AVX2 lacks some of them" in str(error)


@pytest.mark.parametrize("limit", ["AVX2", None])
def test_an_error_of_openvino_is_none_of_emulation_where_nothing_is_held(
    limit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LIMIT, raising=False)
    if limit:
        monkeypatch.setenv(LIMIT, limit)
    for said, limited in (("list of primitive descriptors is empty", bool(limit)), ("no memory", False)):
        with pytest.raises(Unsupported if limited else RuntimeError) as error, told_where_held():
            raise RuntimeError(said)
        assert isinstance(error.value, Unsupported) == limited


def test_a_process_that_is_not_held_says_so() -> None:
    other = "avx2" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "avx512"
    with pytest.raises(PressbenchError, match="nothing is emulated here"):
        check(other)


def test_what_cannot_be_held_is_unsupported_with_its_reason() -> None:
    held = Hardware("cpu-avx2-emulated", "cpu-avx2-emulated", frozenset({"avx2"}), held_to="avx2")
    spec = ModelSpec("any", {"model_type": "bert", "architectures": ["BertModel"]}, {})
    reason = registry.unsupported_reason(registry.variants()["onnxruntime-fp32"], spec, held)
    assert reason == "onnxruntime cannot be held to avx2: it takes what the processor has"
    assert registry.unsupported_reason(registry.variants()["openvino-fp32"], spec, held) is None
    assert "cannot be held to avx2" in (compiler_reason(held) or "")


@strong
def test_a_run_on_it_stands_beside_the_machines_own(tmp_path: Path) -> None:
    tiny_models.trained_classifier(tmp_path / "dense")
    rows = [(text, ("negative", "positive")[label]) for text, label in tiny_models.reviews(120, seed=3)]
    tiny_models.write_csv(tmp_path / "reviews.csv", ("text", "label"), rows)
    place = Place(tmp_path / "place", tmp_path / "cache", {}, NO_TARGETS)
    named = ["--model", "./dense", "--data", "reviews.csv", "-m", "accuracy"]
    asked = [*named, "--compressor", "dense", "--compressor", "onnxruntime-fp32"]
    command = place.command(*asked, "--hardware", "cpu", "--hardware", "cpu-avx2", target=str(ROOT / "benchmarks"))
    done = finish(place.start("-m", "pytest", *command, at=tmp_path))
    (path,) = list_runs(place.folder / "results")
    found = {(one.hardware, one.compressor): one for one in read_run(path).cases}
    assert done.code == 0, done.out
    own, held = found["cpu", "dense"], found["cpu-avx2-emulated", "dense"]
    assert held.hardware_class == "cpu-avx2-emulated" and own.fingerprint != held.fingerprint
    assert "cpu-avx2-emulated" in done.out
    assert "cannot be held to avx2" in found["cpu-avx2-emulated", "onnxruntime-fp32"].reason
    assert found["cpu", "onnxruntime-fp32"].verdict == "measured"


def test_its_history_is_its_own() -> None:
    own = detected()["cpu"]
    held = Hardware("cpu-avx2-emulated", "cpu-avx2-emulated", frozenset({"avx2"}), own.threads, held_to="avx2")
    assert fingerprint(own)["hash"] != fingerprint(held)["hash"]
