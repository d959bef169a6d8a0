"""What recovery does for approximate attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressors import registry
from compressors.conformance import Subject


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("attention-linear", {"features": 3}),
        ("attention-projected", {"rank": 1}),
        ("attention-hashed", {"rounds": 1, "size": 4}),
    ],
)
def test_recovery_brings_the_answers_nearer_to_the_dense_ones(
    name: str, parameters: dict[str, Any], tiny_bert: Subject
) -> None:
    def distance(epochs: float) -> float:
        method = registry.build(name, {**parameters, "recovery_epochs": epochs, "learning_rate": 1e-4})
        model = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
        with torch.inference_mode():
            return float((model(**tiny_bert.examples.inputs).logits - tiny_bert.examples.dense_logits).norm())

    assert distance(1.0) < 0.9 * distance(0)
