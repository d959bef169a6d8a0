"""What a footprint has counted is what a speed would count, and is not counted again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.measure import stages
from benchmarks.preparation.preparation import Preparation
from benchmarks.progress import Stages
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload
from compressors import conformance


def test_what_is_counted_beside_the_dense_model_is_what_is_counted_alone(tmp_path: Path) -> None:
    subject, inputs = conformance.subject("bert"), tmp_path / "inputs.safetensors"
    write_examples(subject.examples, inputs)
    own, other = Workload(2, 8), Workload(4, 8)
    folder = subject.dense.directory
    beside = stages.count({}, folder, folder, "kernel", False, (inputs, inputs), (other, own))
    alone = stages.executed({}, folder, inputs, own)
    assert alone is not None and beside.executed == alone != beside.dense_executed


def test_no_worker_is_started_for_what_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = SimpleNamespace(seed=0, stage_seconds=1.0)
    prepared = Preparation(Cache(tmp_path), settings, Stages())
    asked: list[str] = []

    class Asked(Exception):
        pass

    def worker(name: str, *_: Any) -> Any:
        asked.append(name)
        raise Asked

    monkeypatch.setattr(prepared, "worker", worker)
    artifact: Any = SimpleNamespace(
        digest="d", directory=tmp_path, recipe=[{"compressor": "cut"}], manifest={"runtime": "torch"}
    )
    hardware: Any = None
    prepared.counted(artifact, Workload(2, 8), None)  # of a runtime that cannot tell, too
    assert prepared.executed(artifact, tmp_path, Workload(2, 8), hardware) is None and not asked
    for another in (Workload(4, 8), Workload(2, 16)):
        with pytest.raises(Asked):
            prepared.executed(artifact, tmp_path, another, hardware)
    assert asked == ["cut", "cut"]
