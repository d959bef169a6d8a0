"""Metrics of the `evaluate` package, as the suite takes them."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from benchmarks.quality.metrics.accuracy import accuracy


def test_accuracy_is_that_of_another_library_and_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", "/proc/nowhere")
    said, truth = np.random.default_rng(0).integers(0, 3, (2, 200))
    assert accuracy(said.tolist(), truth.tolist()) == pytest.approx(accuracy_score(truth, said))
