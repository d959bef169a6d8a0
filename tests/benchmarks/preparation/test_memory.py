"""Memory is that of a worker and of all that it starts, and what each call leaves behind is told."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.measure import stages
from benchmarks.measure.worker import Worker
from benchmarks.preparation import memory
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload
from compressors import conformance
from compressors.interface import Examples, Hardware

CPU = Hardware("cpu", "cpu-generic", threads=1)
MIB = 2**20


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    pixels = torch.randn(20, 1, 8, 8)
    write_examples(Examples({"pixel_values": pixels}), tmp_path / "inputs.safetensors")
    return tmp_path / "inputs.safetensors"


def plant(state: dict[str, Any], what: str) -> None:
    """Make what is loaded later spoilt: the loading of a worker is ours, and real."""
    load = stages.load

    def loaded(state: dict[str, Any], *arguments: Any) -> float:
        seconds = load(state, *arguments)
        whole, held, called = state["forward"], [], 0
        if what == "child" and os.fork() == 0:
            held.append(np.ones(64 * MIB, np.uint8))
            time.sleep(60)
            os._exit(0)

        def forward(inputs: Any) -> Any:
            nonlocal called
            if what == "leak":
                held.append(np.ones(MIB, np.uint8))
            if what == "settles" and 9 < (called := called + 1) < 14:
                held.append(np.ones(8 * MIB, np.uint8))
            if what == "breathes" and len(held) < 2:
                held.append(np.ones(8 * MIB, np.uint8))
            elif what == "breathes":
                held.clear()
            return whole(inputs)

        state["forward"] = forward
        return seconds

    stages.load = loaded  # type: ignore[assignment]  (in the worker alone)


def measured(what: str, examples: Path) -> memory.Memory:
    artifact = conformance.subject("vit").dense.directory
    with Worker(what) as worker:
        worker.call(plant, what)
        time.sleep(0)
        return memory.measured(worker, artifact, examples, Workload(4), CPU, 60.0)


def test_a_sound_model_grows_by_nothing(examples: Path) -> None:
    found = measured("sound", examples)
    assert 0 < found.peak < 40 * MIB and not found.grows


def test_what_a_call_leaves_behind_is_told(examples: Path) -> None:
    found = measured("leak", examples)
    assert found.grows and found.growth == pytest.approx(MIB, rel=0.2)


def test_what_comes_and_goes_is_no_growth(examples: Path) -> None:
    assert not measured("breathes", examples).grows


def test_what_an_allocator_stops_giving_back_is_no_growth() -> None:
    """Seen: of three calls the third frees what the others took, until the allocator keeps it for later."""
    rounds = (8_880_128, 17_326_080, 573_440)
    kept = (*rounds, *rounds, *rounds, 8_945_664, 17_281_024, 17_281_024, 17_281_024)
    assert memory.growth_of(kept) == 0
    leaking = tuple(held + call * MIB for call, held in enumerate(kept))
    assert MIB <= memory.growth_of(leaking) < 2 * MIB


def test_what_an_allocator_keeps_once_more_is_no_growth() -> None:
    """Seen: after ten calls all points lie 8 MiB higher, and stay there."""
    kept = (8_929_280, 17_375_232, 589_824, 8_941_568, *[17_346_560] * 6, *[25_718_784] * 3)
    assert memory.growth_of(kept) > memory.GROWTH, "nothing to be looked at again"
    assert memory.growth_of((*kept, *[25_718_784] * 12)) == 0
    leaking = tuple(held + call * MIB for call, held in enumerate((*kept, *[25_718_784] * 24)))
    assert memory.growth_of(leaking) == MIB


def test_growth_is_looked_at_again_and_its_absence_is_not(examples: Path) -> None:
    calls = [len(measured(what, examples).held) for what in ("sound", "leak", "settles")]
    assert calls == [13, 37, 25]


def test_the_memory_of_a_child_counts(examples: Path) -> None:
    assert measured("child", examples).peak > measured("sound", examples).peak + 60 * MIB
