"""Perplexity against a model's own loss, a float64 computation, and what a reader would miss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers

from benchmarks.quality.language_modelling import LanguageModelling
from compressors.interface import NOT_SCORED, Examples

QUALITY = LanguageModelling()
VOCABULARY = 40


def following(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The token after each position; none after the last of each document."""
    labels = torch.full_like(ids, NOT_SCORED)
    for row, length in enumerate(lengths):
        labels[row, : length - 1] = ids[row, 1:length]
    return labels


@pytest.fixture(scope="module")
def examples() -> Examples:
    torch.manual_seed(0)
    ids, lengths = torch.randint(0, VOCABULARY, (60, 12)), torch.randint(4, 13, (60,))
    mask = (torch.arange(12) < lengths[:, None]).long()
    return Examples({"input_ids": ids, "attention_mask": mask}, following(ids, lengths))


@pytest.fixture(scope="module")
def model() -> transformers.LlamaForCausalLM:
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def answers(model: transformers.LlamaForCausalLM, examples: Examples, size: int) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        kept = [QUALITY.keep(model(**b.inputs).logits.float().numpy(), b) for b in examples.batches(size)]
    return {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}


def test_each_document_costs_what_the_models_own_loss_says(
    model: transformers.LlamaForCausalLM, examples: Examples
) -> None:
    found = answers(model, examples, 7)
    for row in range(len(examples)):
        count = int(examples.inputs["attention_mask"][row].sum())
        alone = examples.inputs["input_ids"][row : row + 1, :count]
        with torch.inference_mode():
            loss = model(input_ids=alone, labels=alone).loss
        assert found["tokens"][row] == count - 1
        assert found["nll"][row] / (count - 1) == pytest.approx(float(loss), rel=1e-5)


def test_perplexity_is_that_of_a_float64_computation(model: transformers.LlamaForCausalLM, examples: Examples) -> None:
    found = answers(model, examples, 16)
    double = transformers.LlamaForCausalLM(model.config).double().eval()
    double.load_state_dict(model.state_dict())
    with torch.inference_mode():
        logits = double(**examples.inputs).logits
    assert logits.dtype == torch.float64 and examples.labels is not None
    likely = logits.log_softmax(-1).gather(-1, examples.labels.clamp(min=0)[..., None])[..., 0]
    wanted = math.exp(-float(likely[examples.labels != NOT_SCORED].mean()))
    scored = QUALITY.judge(found, found, examples, None)
    assert scored.measures["perplexity"].value == pytest.approx(wanted, rel=1e-5)
    assert scored.measures["perplexity_rise"].value == 0 and scored.verdict == "measured"


def test_a_worse_model_fails_and_the_same_one_passes(model: transformers.LlamaForCausalLM, examples: Examples) -> None:
    usual = answers(model, examples, 16)
    worse = {**usual, "nll": usual["nll"] + 0.2 * usual["tokens"] * np.linspace(0.8, 1.2, len(usual["nll"]))}
    failed = QUALITY.judge(usual, worse, examples, 0.05)
    assert failed.verdict == "fail"
    assert failed.measures["perplexity_rise"].value == pytest.approx(math.expm1(0.2), abs=0.02)
    assert "bound 5 %" in failed.reason
    assert QUALITY.judge(usual, usual, examples, 0.05).verdict == "pass"
    assert failed.evidence["likeliest_agreement"] == 1 and failed.evidence["context"] == 12


def test_what_is_not_scored_is_left_out_of_everything(model: transformers.LlamaForCausalLM, examples: Examples) -> None:
    """Also of the tokens that are compared: padding would agree with itself."""
    usual = answers(model, examples, 16)
    other = {**usual, "likeliest": np.where(usual["likeliest"] == NOT_SCORED, NOT_SCORED, VOCABULARY)}
    assert QUALITY.judge(usual, other, examples, None).evidence["likeliest_agreement"] == 0
    numbers, words = QUALITY.unsteadiness(usual, other)
    assert numbers["flips"] == numbers["positions"] == usual["tokens"].sum()
    assert words == f"the likeliest token differs at {numbers['flips']} of {numbers['flips']} positions"


def test_too_few_documents_are_told_before_anything_is_measured() -> None:
    assert QUALITY.resolves(100, 0.02) is None
    assert "needs 50" in str(QUALITY.resolves(49, 0.02))
