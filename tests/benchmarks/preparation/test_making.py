"""How long an artifact took, and how much of that was in this run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.preparation import preparation
from benchmarks.preparation.making import Made, Makings
from benchmarks.progress import Stages
from compressors.interface import Hardware


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes steps as a run does, one run a call: name of the step -> seconds that its process takes. The clock is the
    steps' own."""
    clock, looked = [0.0], []
    monkeypatch.setattr("time.time", lambda: clock[0])
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(preparation, "open_artifact", lambda entry: SimpleNamespace(directory=entry, digest="the same"))
    monkeypatch.setattr(preparation, "code_of", lambda step: [])
    monkeypatch.setattr(preparation, "step_entry", lambda step: [step.name, step.parameters])
    monkeypatch.setattr(preparation.Preparation, "_unharmed", lambda *_: None)
    monkeypatch.setattr(preparation.Preparation, "enclosure", lambda *_, **__: None)
    dense: Any = SimpleNamespace(identity="d", entry=tmp_path, training_path=tmp_path)
    dense.artifact = SimpleNamespace(directory=tmp_path / "dense", digest="dense")

    def run(
        strength: float = 0, by: dict[str, Any] | None = None, asks: bool = False, **seconds: float
    ) -> tuple[Made | None, float]:
        stages = Stages()
        settings: Any = SimpleNamespace(seed=0, stage_seconds=1.0)
        prepared = preparation.Preparation(Cache(tmp_path / "cache"), settings, stages)

        class Worker:
            def __init__(self, took: float) -> None:
                self.took = took

            def __enter__(self) -> Worker:
                return self

            def __exit__(self, *_: object) -> None:
                clock[0] += self.took  # to start, to load, to save

            def call(self, does: Any, what: Any, *_: Any, **__: Any) -> None:
                asked = does.__name__ == "ask_dense"
                looked.append((does.__name__, not asked and (what.found or what.said) is not None))

        current: Any = dense.artifact
        for number, took in enumerate(seconds.values()):
            worker = Worker(took)
            usual = {
                "parameters": {"strength": strength},
                "requires": (),
                "reads": (),
                "finds_by": by,
                "asks_dense": asks,
            }
            recipe = tuple(SimpleNamespace(name=n, **usual) for n in list(seconds)[: number + 1])
            monkeypatch.setattr(prepared, "worker", lambda *_, worker=worker: worker)
            model: Any = SimpleNamespace(name="m")
            hardware = Hardware("cpu", "cpu-generic")
            current = prepared._step(recipe, current, dense, model, hardware)  # type: ignore[arg-type]
        return prepared.makings.of(current.directory), stages.seconds.get("compress", 0.0)

    run.looked = looked  # type: ignore[attr-defined]
    return run


def test_the_time_to_compress_is_what_the_stage_took(made: Any) -> None:
    found, stage = made(quantize=6.3)
    assert found == Made(seconds=6.3, here=6.3) and stage == pytest.approx(6.3)


def test_from_the_cache_it_is_what_it_was_and_nothing_of_it_is_of_this_run(made: Any) -> None:
    made(quantize=6.3)
    found, stage = made(quantize=99.0)
    assert found == Made(seconds=6.3, here=0.0) and stage == 0


def test_a_chain_counts_each_step_once_wherever_it_was_made(made: Any) -> None:
    made(export=2.0)
    found, stage = made(export=99.0, quantize=0.5)
    assert found == Made(seconds=2.5, here=0.5) and stage == pytest.approx(0.5)


def test_what_strengths_share_is_looked_for_once_and_is_part_of_what_each_took(made: Any) -> None:
    found, stage = made(prune=3.0, by={"embeddings": True}, strength=0.5)
    assert found == Made(seconds=6.0, here=6.0) and stage == pytest.approx(6.0)
    found, stage = made(prune=2.0, by={"embeddings": True}, strength=0.7)
    assert found == Made(seconds=5.0, here=2.0) and stage == pytest.approx(2.0)
    assert made.looked == [("find", False), ("compress", True), ("compress", True)]
    made(prune=2.0, by={"embeddings": False}, strength=0.7)
    assert made.looked[3] == ("find", False)


def test_the_dense_model_is_asked_once_for_all_methods_and_each_tells_that_time(made: Any) -> None:
    found, stage = made(prune=3.0, asks=True)
    assert found == Made(seconds=6.0, here=6.0) and stage == pytest.approx(6.0)
    found, stage = made(distil=2.0, prune=1.0, asks=True)  # a chain that looks at it twice waited for it once
    assert found == Made(seconds=6.0, here=3.0) and stage == pytest.approx(3.0)
    assert made.looked == [("ask_dense", False), *[("compress", True)] * 3]
    made(quantize=1.0)
    assert made.looked[4:] == [("compress", False)]


def test_what_was_found_in_one_model_is_not_taken_for_another_of_the_same_bytes(made: Any) -> None:
    """Such as one whose tokens merge after another layer: no weight differs, and every score does."""
    made(merge=1.0, prune=1.0, by={}, strength=1)
    before = len(made.looked)
    made(merge=1.0, prune=1.0, by={}, strength=2)
    assert made.looked[before:].count(("find", False)) == 1  # what is pruned, and not what is merged: that is the same


def test_the_dense_model_was_not_compressed(tmp_path: Path) -> None:
    assert Makings().of(tmp_path) is None
