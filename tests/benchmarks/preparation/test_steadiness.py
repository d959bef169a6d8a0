"""Answers that are not an artifact's own are seen: by asking again, and in other company."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.preparation import steadiness
from benchmarks.quality.classification import Classification
from benchmarks.zoo.dense import write_examples
from compressors.interface import Examples, PressbenchError, no_progress

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def right(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    found: np.ndarray = inputs["pixel_values"] @ WEIGHTS
    return found


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    pixels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    write_examples(Examples({"pixel_values": pixels}), tmp_path / "inputs.safetensors")
    return tmp_path / "inputs.safetensors"


class Here:
    """What a worker does, in this process."""

    def __init__(self, forward: Any) -> None:
        self.state = {"forward": forward}

    def call(self, function: Any, *arguments: Any, timeout: float, progress: Any = None) -> Any:
        more = {"progress": progress} if progress else {}
        return function(self.state, *arguments, **more)


def asked(forward: Any, examples: Path, batch: int = 8) -> dict[str, np.ndarray]:
    return steadiness.scored(Here(forward), Classification(), examples, batch, 60.0, no_progress)  # type: ignore[arg-type]


def test_answers_of_ones_own_are_told_as_steady(examples: Path) -> None:
    found = asked(right, examples)
    assert len(found["predictions"]) == 40
    told = steadiness.told(found)
    assert told["again"] == 0 and told["batch_noise"] < 1e-5
    assert (told["asked_again"], told["other_company"]) == (8, 16)
    assert steadiness.in_words(found) == ""


def test_an_answer_that_depends_on_the_call_before_is_none(examples: Path) -> None:
    last = [np.zeros(4, np.float32)]

    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        answer = right(inputs)
        found, last[0] = answer + 0.3 * last[0], answer.mean(axis=0)
        return found

    with pytest.raises(PressbenchError, match=r"the same batch asked again is answered otherwise: by \d.*%"):
        asked(forward, examples)


def test_chance_is_no_answer(examples: Path) -> None:
    draw = np.random.default_rng(1)
    with pytest.raises(PressbenchError, match="on what was asked before, or on chance"):
        asked(lambda inputs: right(inputs) + 0.2 * draw.standard_normal((len(inputs["pixel_values"]), 4)), examples)


def test_who_depends_on_company_is_scored_alone(examples: Path) -> None:
    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        answer = right(inputs)
        found: np.ndarray = answer - answer.mean(axis=0) * (len(answer) > 1)
        return found

    found = asked(forward, examples)
    pixels = np.concatenate([right({"pixel_values": row[None]}) for row in _pixels(examples)])
    assert (found["predictions"] == pixels.argmax(1)).all()
    assert steadiness.told(found)["alone"] and steadiness.noise(found) == 0
    assert "; scored one example at a time, since in company its answers move by" in steadiness.in_words(found)


def test_rounding_with_the_batch_is_told_and_no_more(examples: Path) -> None:
    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        answer = right(inputs)
        step = np.abs(answer).max() / 127  # one step for the whole batch
        found: np.ndarray = np.rint(answer / step) * step
        return found

    found = asked(forward, examples)
    assert 1e-3 < steadiness.noise(found) < 0.05
    assert steadiness.in_words(found) == ""


def _pixels(path: Path) -> np.ndarray:
    from benchmarks.zoo.dense import read_examples

    found: np.ndarray = read_examples(path).inputs["pixel_values"].numpy()
    return found
