"""What the methods of low rank share: they recover, and what they are given wrong is told."""

from __future__ import annotations

import pytest
import torch

from compressors import conformance, registry

NAMES = ("low-rank-embedding", "low-rank-fisher", "low-rank-whitened")


@pytest.mark.parametrize("name", NAMES)
def test_recovery_brings_the_answers_nearer_to_the_dense_ones(name: str, tiny_bert: conformance.Subject) -> None:
    def distance(epochs: float) -> float:
        method = registry.build(name, {"rank_ratio": 0.2, "recovery_epochs": epochs, "learning_rate": 1e-3})
        model = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
        with torch.inference_mode():
            return float((model(**tiny_bert.examples.inputs).logits - tiny_bert.examples.dense_logits).norm())

    assert distance(0.5) < 0.9 * distance(0)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_is_refused(name: str, tiny_bert: conformance.Subject) -> None:
    for field, value, told in (
        ("rank_ratio", 1.0, "must lie between 0 and 1"),
        ("recovery_epochs", -1.0, "must be 0"),
        ("learning_rate", 0.0, "must be above 0"),
    ):
        with pytest.raises(ValueError, match=f"{field} = {value}: {told}"):
            type(registry.build(name))(**{field: value})
    reason = registry.build(name, {"rank_ratio": 0.97}).supports(tiny_bert.spec, conformance.HARDWARE)
    assert reason and "rank_ratio 0.97 makes" in reason and "smaller" in reason
