"""new-method: which weights go, how many, and that padding has no say in it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from compressors import conformance, surgery
from pressbench.template.new_method import NewMethod


def weights(subject: conformance.Subject, **parameters: float) -> dict[str, Tensor]:
    """What the method makes of the linear layers of a tiny model, by name."""
    method = NewMethod(**parameters)
    model = method.compress(subject.dense.model(), subject.context(method)).model
    return {name: surgery.get(model, name).weight.detach() for name in surgery.block_linears(model)}


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
@pytest.mark.parametrize("sparsity", [0.3, 0.5])
def test_every_row_loses_its_share_and_the_rest_stays(kind: str, sparsity: float) -> None:
    subject = conformance.subject(kind)
    dense = subject.dense.model()
    for name, weight in weights(subject, sparsity=sparsity).items():
        kept = weight != 0
        assert set((~kept).sum(1).tolist()) == {round(sparsity * weight.shape[1])}, name
        assert torch.equal(weight[kept], surgery.get(dense, name).weight[kept]), name


def test_the_least_scores_go() -> None:
    """Computed another way: from what the layers of a ViT, which pads nothing, are given in one pass."""
    subject = conformance.subject("vit")
    dense, given = subject.dense.model(), dict[str, Tensor]()
    for name in surgery.block_linears(dense):
        surgery.get(dense, name).register_forward_pre_hook(lambda _, args, name=name: given.update({name: args[0]}))
    with torch.no_grad():
        dense(**subject.examples[:16].inputs)  # what it calibrates with
    for name, weight in weights(subject).items():
        score = surgery.get(dense, name).weight.abs() * given[name].flatten(0, -2).norm(dim=0)
        gone = weight == 0
        most, least = score.masked_fill(~gone, 0).amax(1), score.masked_fill(gone, torch.inf).amin(1)
        assert bool((most < 1.02 * least).all()), name  # calibration may be in bf16


def test_padding_has_no_say() -> None:
    subject = conformance.subject("bert")
    padded = subject.examples.inputs["attention_mask"] == 0
    other = subject.examples.inputs["input_ids"].masked_fill(padded, 5)
    examples = dataclasses.replace(subject.examples, inputs={**subject.examples.inputs, "input_ids": other})
    found = weights(dataclasses.replace(subject, examples=examples))
    for name, weight in weights(subject).items():
        assert torch.equal(found[name] == 0, weight == 0), name


@pytest.mark.parametrize("sparsity", [0.0, 1.0, float("nan")])
def test_a_wrong_parameter_is_named(sparsity: float) -> None:
    with pytest.raises(ValueError, match=f"sparsity = {sparsity}: must lie between 0 and 1"):
        NewMethod(sparsity=sparsity)
