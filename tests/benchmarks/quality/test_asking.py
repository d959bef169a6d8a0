"""How a worker asks a model by default: one pass with all inputs, every row of it finite and accounted for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.measure import stages
from benchmarks.quality.classification import Classification
from benchmarks.zoo.dense import write_examples
from compressors.interface import Examples, PressbenchError, no_progress


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    ids = torch.arange(14).reshape(7, 2)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": ids[:, :1]}
    write_examples(Examples(inputs, torch.zeros(7, dtype=torch.int64)), tmp_path / "test.safetensors")
    return tmp_path / "test.safetensors"


def ask(forward: object, examples: Path, first: int | None = None) -> dict[str, np.ndarray]:
    return stages.answer({"forward": forward}, Classification(), examples, 3, first, progress=no_progress)


def test_one_pass_is_made_with_all_inputs(examples: Path) -> None:
    calls: list[list[str]] = []

    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        calls.append(sorted(inputs))
        return np.eye(14, dtype=np.float32)[inputs["input_ids"][:, 1]]

    assert ask(forward, examples)["predictions"].tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert calls == [["attention_mask", "decoder_input_ids", "input_ids"]] * 3
    assert ask(forward, examples, 4)["predictions"].tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_examples_whose_outputs_are_not_finite_are_counted(bad: float, examples: Path) -> None:
    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.where(inputs["input_ids"] >= 10, bad, 1.0)

    with pytest.raises(PressbenchError, match="NaN or infinite for 2 of 7 examples, first at 5"):
        ask(forward, examples)


def test_large_outputs_are_finite(examples: Path) -> None:
    """Though their sum is beyond float32."""
    kept = ask(lambda inputs: np.full((len(inputs["input_ids"]), 4), 3e38, np.float32), examples)
    assert len(kept["predictions"]) == 7


def test_an_answer_too_few_is_told(examples: Path) -> None:
    with pytest.raises(PressbenchError, match="5 answers for 7 examples"):
        ask(lambda inputs: np.ones((max(1, len(inputs["input_ids"]) - 1), 2)), examples)
