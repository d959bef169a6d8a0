"""What a footprint has counted is what a speed would count, and is not counted again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.measure import stages
from benchmarks.preparation.memory import Memory, Waits
from benchmarks.preparation.preparation import Preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.run.session import Session
from benchmarks.zoo import find_model
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload
from compressors import conformance, registry
from compressors.interface import Hardware
from compressors.runtimes.executed import Executed

CPU = Hardware("cpu", "cpu-vnni", threads=1)


def test_what_is_counted_beside_the_dense_model_is_what_is_counted_alone(tmp_path: Path) -> None:
    subject, inputs = conformance.subject("bert"), tmp_path / "inputs.safetensors"
    write_examples(subject.examples, inputs)
    own, other = Workload(2, 8), Workload(4, 8)
    folder = subject.dense.directory
    alone, known = stages.executed({}, folder, inputs, own), Executed({"int4": 1}, 2)
    beside = stages.count({}, folder, folder, "kernel", False, (inputs, inputs), (other, own), known)
    assert alone is not None and beside.executed == alone
    assert beside.dense_executed == known, "what is known of the dense model is taken, and not counted again"
    itself = stages.count({}, folder, folder, None, False, (inputs, inputs), (own, own), known)
    assert itself.executed == itself.dense_executed == known, "nor where it is held against itself"


def test_what_the_dense_model_executes_is_counted_once_for_all_it_is_held_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, inputs, model = conformance.subject("bert"), tmp_path / "inputs.safetensors", find_model("minilm-bbc")
    write_examples(subject.examples, inputs)
    pruned = conformance._made(registry.variants()["prune-magnitude-50"].steps, "bert")
    session = Session(Cache(tmp_path / "cache"), Settings(), Stages(), "run")
    prepared, asked = session.prepared, []

    class Here:
        """What a worker would do, in this process."""

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        def call(self, function: Any, *args: Any, **_: Any) -> Any:
            asked.append(function.__name__)
            return function({}, *args)

    dense = SimpleNamespace(artifact=subject.dense, inputs_path=inputs, told=None)
    made = {"dense": subject.dense, "prune-magnitude-50": pruned}
    monkeypatch.setattr(prepared, "dense", lambda _: dense)
    monkeypatch.setattr(prepared, "worker", lambda *_: Here())
    monkeypatch.setattr(prepared, "memory", lambda *_: Memory(0, 0, (), Waits(0, 0, 0)))
    monkeypatch.setattr(prepared, "measured_on", lambda _: {})
    found = {}
    for name in made:
        monkeypatch.setattr(prepared, "artifact", lambda *_, name=name: made[name])
        case = Case("footprint", name, registry.variants()[name], model, CPU, None, Target())
        found[name] = session.footprint(case)
    assert {one.verdict for one in found.values()} == {"measured"}, [one.reason for one in found.values()]
    assert asked == ["executed", "count", "count"]
    assert found["dense"].evidence["executed"] == found["prune-magnitude-50"].evidence["dense_executed"] is not None


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
