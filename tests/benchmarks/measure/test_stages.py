"""What a worker times: the call alone, not what has to be done before it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import stages
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import decode, prefill
from compressors import conformance
from compressors.interface import Compressor, Hardware
from compressors.runtimes.controls import Dense, OpenvinoFp32

CPU = Hardware("cpu", "cpu-generic", threads=1)


@pytest.mark.parametrize("method", [Dense(), OpenvinoFp32()], ids=lambda method: method.name)
def test_decoding_begins_with_the_cache_that_the_prompt_left_and_that_is_not_timed(
    method: Compressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: dict[str, Any] = {}
    write_examples(conformance.subject("llama").examples, tmp_path / "test.safetensors")
    stages.load(state, conformance._made(method.steps, "llama").directory, CPU, generates=True)
    stages.set_workload(state, tmp_path / "test.safetensors", decode(2, 12, 5))
    once = stages.call_once(state)
    assert once.shape == (2, 5)
    assert stages.calls_per_slot(state) >= 1
    read, rewound = stages.bytes_read(state), state["before"]

    def slow() -> None:
        rewound()
        time.sleep(0.3)

    monkeypatch.setitem(state, "before", slow)
    assert 0 < stages.slot(state, 2) < 0.3
    assert (stages.call_once(state) == once).all() and stages.bytes_read(state) == read


def test_reading_a_prompt_has_nothing_before_it(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    write_examples(conformance.subject("llama").examples, tmp_path / "test.safetensors")
    stages.load(state, conformance.subject("llama").dense.directory, CPU, generates=True)
    stages.set_workload(state, tmp_path / "test.safetensors", prefill(2, 12))
    assert stages.slot(state, 3) > 0 and "before" not in state
