"""Accuracy as a local `evaluate` metric; the same definition as the hub's `accuracy`."""

from __future__ import annotations

import tempfile
from typing import Any

import datasets
import evaluate
import numpy as np


class Accuracy(evaluate.Metric):
    """Share of predictions that equal their reference, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of predictions that equal their reference.",
            citation="",
            inputs_description="predictions and references: class indices, one an example",
            features=datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}),
        )

    def _compute(self, predictions: list[int], references: list[int], **_: Any) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


def accuracy(predictions: list[int], references: list[int]) -> float:
    """Accuracy of class indices against references, computed by `evaluate` in memory."""
    with tempfile.TemporaryDirectory() as folder:  # it makes a folder for what it never writes: at home, else
        result = Accuracy(keep_in_memory=True, cache_dir=folder).compute(predictions=predictions, references=references)
    assert result is not None
    return float(result["accuracy"])
