"""What a worker times: the calls alone, each on other inputs, each over when its answer is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.measure import stages, timing
from benchmarks.measure.sketch import sketch
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload, decode, prefill
from compressors import conformance
from compressors.interface import Compressor, Examples, Hardware, PressbenchError
from compressors.runtimes.compiled import TorchCompileFp32
from compressors.runtimes.controls import Dense, OnnxRuntimeFp32, OpenvinoFp32

CPU = Hardware("cpu", "cpu-generic", threads=1)


@pytest.mark.parametrize("method", [Dense(), OpenvinoFp32()], ids=lambda method: method.name)
def test_a_decode_goes_on_from_a_prompt_and_reading_that_is_not_timed(
    method: Compressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: dict[str, Any] = {}
    write_examples(conformance.subject("llama").examples, tmp_path / "inputs.safetensors")
    made = conformance._made(method.steps, "llama").directory
    stages.load(state, made, CPU, "decode")
    timing.set_workload(state, tmp_path / "inputs.safetensors", decode(2, 12, 5))
    assert timing.calls_per_slot(state) >= 1
    read, seen = state["generator"].prefill, []

    def slow(prompts: np.ndarray) -> np.ndarray:
        seen.append(prompts.tobytes())
        time.sleep(0.3)
        return read(prompts)

    monkeypatch.setattr(state["generator"], "prefill", slow)
    slots = []
    for number in range(timing.SHARED + 1):
        timing.ready(state, 7, number, 2)
        slots.append(timing.go(state, 2))
    assert all(0 < slot.seconds <= slot.whole < 0.3 for slot in slots)
    assert len(set(seen)) == len(seen) == 2, "some slots go on from the same prompts, which are read once"
    checked = [slot.checked for slot in slots]
    assert len({one.rows.tobytes() for one in checked}) > 0.8 * len(slots), "but with another token each"
    stages.load(state, made, CPU)
    for one in checked:
        assert one.rows.shape == (2, 13) and one.answer.shape == (2, 5)
        assert stages.explain(state, one.rows, one.answer).max() < 1e-3, "the model's own passes choose these tokens"
        wrong = (one.answer + 1) % 600
        assert stages.explain(state, one.rows, wrong).max() > 1


def test_reading_a_prompt_gives_its_first_token(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    write_examples(conformance.subject("llama").examples, tmp_path / "inputs.safetensors")
    stages.load(state, conformance.subject("llama").dense.directory, CPU, "prefill")
    timing.set_workload(state, tmp_path / "inputs.safetensors", prefill(2, 12))
    timing.ready(state, 0, 0, 3)
    slot = timing.go(state, 3)
    assert slot.seconds > 0 and slot.checked.answer.shape == (2, 1)


# -- forward passes --------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """30 texts of up to 9 tokens, each its own."""
    ids = 1 + torch.arange(30 * 9).reshape(30, 9)
    mask = (torch.arange(9)[None] < 4 + torch.arange(30)[:, None] % 6).long()
    write_examples(Examples({"input_ids": ids * mask, "attention_mask": mask}), tmp_path / "inputs.safetensors")
    return tmp_path / "inputs.safetensors"


def worker(forward: Callable[..., Any], inputs: Path, batch: int = 4) -> dict[str, Any]:
    state: dict[str, Any] = {"forward": forward}
    timing.set_workload(state, inputs, Workload(batch, 9))
    return state


def slots(state: dict[str, Any], count: int, calls: int = 2, seed: int = 5) -> list[timing.Slot]:
    found = []
    for number in range(count):
        timing.ready(state, seed, number, calls)
        found.append(timing.go(state, calls))
    return found


def total(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack([inputs["input_ids"].sum(1), inputs["attention_mask"].sum(1)], 1).astype(np.float32)


def test_no_input_comes_twice_and_all_sides_are_given_the_same(inputs: Path) -> None:
    seen: list[list[bytes]] = [[], []]

    def side(number: int) -> Callable[..., Any]:
        return lambda given: (seen[number].extend(row.tobytes() for row in given["input_ids"]), total(given))[1]

    for number in range(2):
        slots(worker(side(number), inputs), 12)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 12 * 3 * 4
    assert len(set(seen[0])) > 0.9 * len(seen[0]), "30 texts, spliced, are many"


def test_some_answers_are_to_examples_as_they_are_and_some_can_be_asked_again(inputs: Path) -> None:
    state = worker(total, inputs)
    checked = [slot.checked for slot in slots(state, 20)]
    real = [one for one in checked if one.rows is not None]
    rows = np.concatenate([one.rows for one in real])
    assert sorted(rows.tolist()) == list(range(28)), "each once, whole batches alone"
    scored = stages.sketches(state, inputs, range(30), 7)
    assert all(np.array_equal(scored[one.rows], one.answer) for one in real)
    drawn = [one for one in checked if one.rows is None]
    assert len(drawn) == 13
    calls = [(one.slot, one.calls, one.call) for one in drawn]
    again = stages.drawn_again(state, inputs, Workload(4, 9), 5, calls, 3)
    assert all(np.array_equal(wanted, one.answer) for wanted, one in zip(again, drawn, strict=True))
    assert {one.call for one in checked} == {1, 2}, "which call is checked is drawn too"


@pytest.mark.parametrize(
    ("eager", "device", "seconds", "before"),
    [(True, "cpu", 0.03, 1), (False, "cpu", 0.03, 4), (True, "cuda", 0.03, 4), (True, "cpu", 0.0, 4)],
    ids=["long and eager", "of a graph", "on a GPU", "short"],
)
def test_before_a_long_pass_of_an_eager_model_one_example_is_enough(
    eager: bool, device: str, seconds: float, before: int, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "flush_for", lambda _: None)
    rows: list[int] = []

    def forward(given: Mapping[str, np.ndarray]) -> np.ndarray:
        rows.append(len(given["input_ids"]))
        time.sleep(seconds)
        return total(given)

    state: dict[str, Any] = {"forward": forward, "eager": eager, "device": device}
    timing.set_workload(state, inputs, Workload(4, 9))
    calls = timing.calls_per_slot(state)
    assert set(rows) == {4}, "how long it takes is seen on whole batches"
    rows.clear()
    found = slots(state, 6, calls)
    assert rows == 6 * [before, *(calls * [4])]
    for slot in found:
        if slot.checked.rows is not None:
            assert np.array_equal(slot.checked.answer, stages.sketches(state, inputs, slot.checked.rows.tolist(), 4))


@pytest.mark.parametrize(
    ("method", "eager"),
    [(Dense(), True), (TorchCompileFp32(), False), (OnnxRuntimeFp32(), False), (OpenvinoFp32(), False)],
    ids=lambda one: getattr(one, "name", one),
)
def test_what_makes_a_plan_for_a_shape_is_not_eager(method: Compressor, eager: bool) -> None:
    state: dict[str, Any] = {}
    stages.load(state, conformance._made(method.steps, "bert").directory, CPU)
    assert state["eager"] is eager


class Lazy:
    def __init__(self, make: Callable[[], np.ndarray]) -> None:
        self.make = make

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.make()


def test_an_answer_that_is_made_when_it_is_read_is_timed(inputs: Path) -> None:
    def forward(given: Mapping[str, np.ndarray]) -> Lazy:
        return Lazy(lambda: (time.sleep(0.01), total(given))[1])

    (slot,) = slots(worker(forward, inputs), 1)
    assert slot.seconds >= 0.02


def test_an_answer_that_changes_after_it_was_given_is_none(inputs: Path) -> None:
    def forward(given: Mapping[str, np.ndarray]) -> np.ndarray:
        answer = np.zeros((4, 2), np.float32)
        threading.Timer(0.02, lambda: answer.fill(1)).start()
        return answer

    state = worker(forward, inputs)
    slots(state, 1)
    time.sleep(0.1)
    with pytest.raises(PressbenchError, match="an answer changed after it was given"):
        timing.ready(state, 0, 1, 2)


def test_a_buffer_that_serves_every_call_is_no_fault(inputs: Path) -> None:
    buffer = np.empty((4, 2), np.float32)

    def forward(given: Mapping[str, np.ndarray]) -> np.ndarray:
        buffer[:] = total(given)
        return buffer

    state = worker(forward, inputs)
    found = slots(state, 6)
    assert all(
        np.array_equal(slot.checked.answer, sketch(stages.sketches(state, inputs, slot.checked.rows.tolist(), 4)))
        for slot in found
        if slot.checked.rows is not None
    )


def test_texts_shorter_than_a_workload_are_refused(inputs: Path) -> None:
    state: dict[str, Any] = {"forward": total}
    with pytest.raises(PressbenchError, match="a workload wants 12 tokens, the data has 9"):
        timing.set_workload(state, inputs, Workload(4, 12))
