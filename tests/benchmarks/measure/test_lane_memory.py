"""The memory of what is timed: that of its process, above one that has loaded nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hardware.devices.cpu import physical_cpus
from benchmarks.measure.lane import Lane
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload
from compressors import conformance
from compressors.interface import Hardware

CPU = Hardware("cpu", "cpu-other", threads=1)
WIDEST = 4 * 8192 * 16 * 64
"""Bytes of the widest states of the tiny model for 8,192 texts of 16 tokens."""


def taken(workload: Workload, folder: Path) -> int:
    subject = conformance.subject("bert")
    write_examples(subject.examples, folder / "test.safetensors")
    lane = Lane("one", subject.dense.directory, CPU, physical_cpus()[:1], folder / "test.safetensors", workload, 120.0)
    try:
        loaded = lane.memory()
        lane.slot()
        assert lane.memory() >= loaded
        return lane.memory()
    finally:
        lane.close()


def test_it_grows_with_what_is_asked_and_is_not_the_interpreters(tmp_path: Path) -> None:
    few, many = taken(Workload(1, 8), tmp_path), taken(Workload(8192, 16), tmp_path)
    assert 0 < few < 96 * 2**20, "torch and transformers are more than that"
    assert many - few > WIDEST
