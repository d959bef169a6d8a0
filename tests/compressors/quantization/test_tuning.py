"""Tuning: codes stay as they are, what they are multiplied by moves, and answers come nearer to the dense model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressors import conformance
from compressors.build import build
from compressors.quantization.gptq import QuantizeGptq
from compressors.quantization.packed import PackedWeight

HASTY = {"bits": 2, "group_size": 16}


def packed(model: nn.Module) -> dict[str, PackedWeight]:
    return {name: module for name, module in model.named_modules() if isinstance(module, PackedWeight)}


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_answers_come_nearer_while_codes_are_held(kind: str) -> None:
    subject = conformance.subject(kind)
    plain = QuantizeGptq(**HASTY)
    tuned = QuantizeGptq(**HASTY, tuning_epochs=2, tuning_rate=3e-3)
    one, other = (m.compress(subject.dense.model(), subject.context(m)).model for m in (plain, tuned))
    before, after = packed(one), packed(other)
    assert all(torch.equal(before[name].codes, after[name].codes) for name in before)
    moved = [float((after[n].scale.float() / before[n].scale.float() - 1).abs().max()) for n in before]
    assert min(moved) > 1e-3 and max(moved) < 0.5
    assert not [name for name, _ in other.named_parameters() if "tuning" in name]

    @torch.no_grad()
    def off(model: nn.Module) -> Tensor:
        inputs = subject.examples.inputs
        return (model(**inputs).logits - subject.dense.model()(**inputs).logits).square().mean()

    assert float(off(other)) < 0.95 * float(off(one))  # on twice the examples that it was tuned on


def test_what_is_stored_is_what_was_tuned(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    method = QuantizeGptq(**HASTY, tuning_epochs=0.5)
    model = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
    made = build([method], tiny_bert.dense, tiny_bert.context(method), tmp_path)
    for name, one in packed(made.model()).items():
        assert torch.equal(one.dequantize(), packed(model)[name].dequantize())


def test_the_gradient_of_a_scale_is_that_of_what_it_multiplies() -> None:
    """Against central differences in float64, one group at a time."""
    from compressors.quantization.grids.linear import LinearGrid
    from compressors.quantization.laid_grid import nearest

    made = torch.Generator().manual_seed(0)
    one = nearest(LinearGrid(3, 8), torch.randn(4, 20, generator=made))
    weights = torch.randn(4, 20, generator=made)
    one.tuning = nn.Parameter(torch.ones(one.scale.shape))
    (one.dequantize() * weights).square().sum().backward()
    assert one.tuning.grad is not None

    def loss(row: int, group: int, step: float) -> float:
        factor = torch.ones(one.scale.shape, dtype=torch.float64)
        factor[row, group] += step
        values = one.dequantize().double().detach() * factor.repeat_interleave(8, 1)[:, :20]
        return float((values * weights).square().sum())

    for row in range(4):
        for group in range(3):
            slope = (loss(row, group, 1e-5) - loss(row, group, -1e-5)) / 2e-5
            assert float(one.tuning.grad[row, group]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "field,value", [("tuning_epochs", -1.0), ("tuning_epochs", float("nan")), ("tuning_rate", 0.0)]
)
def test_values_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        QuantizeGptq(**{field: value})
