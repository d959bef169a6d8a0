"""Whole models with approximate attention against its definition in float64, and the models that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from masked_attention import CAUSAL, inputs_of, tiny
from tiny_architectures import spec_of
from torch import Tensor, nn

from compressors.attention.approximate import ApproximateAttention
from compressors.attention.features import directions
from compressors.attention.hashed import AttentionHashed
from compressors.attention.linear import AttentionLinear
from compressors.attention.projected import AttentionProjected
from compressors.conformance import HARDWARE

LINEAR, PROJECTED, HASHED = AttentionLinear(features=8), AttentionProjected(rank=16), AttentionHashed(rounds=2, size=16)
ALL = pytest.mark.parametrize("method", [LINEAR, PROJECTED, HASHED], ids=lambda method: method.name)
ENCODERS = ("bert-words", "vit", "bert-odd", "roberta", "albert", "electra", "distilbert")
DECODERS = ("gpt2", "llama", "qwen3", "neox", "opt", "phi3")


def approximate(method: ApproximateAttention, model: nn.Module, **structure: Any) -> nn.Module:
    return method.restructure(model, {"seed": 0, "places": 64, **structure})


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def asked(found: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """The answers at tokens that are no padding, where there is one for each; else all."""
    real = inputs.get("attention_mask")
    return found[real.bool()] if real is not None and found.dim() == 3 and found.shape[:2] == real.shape else found


def far(found: Tensor, wanted: Tensor) -> float:
    """The largest difference in units of how far answers lie apart."""
    return float((found - wanted).abs().max() / wanted.std())


# -- truth -----------------------------------------------------------------------------------------


class Kernel:
    """Random features for transformers by their definition: all products in float64, no sums, no pieces."""

    def __init__(self, causal: bool, real: Tensor | None) -> None:
        self.causal, self.real = causal, real

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        scaling: float | None = None, **more: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        groups, width = query.shape[1] // key.shape[1], query.shape[-1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        drawn = directions(8, width, 0, query.device).double()
        root = (scaling or width**-0.5) ** 0.5
        of_query, of_key = (
            (x @ drawn.T - 0.5 * x.square().sum(-1, keepdim=True)).exp() for x in (query * root, key * root)
        )
        weights = of_query @ of_key.mT
        if self.causal:
            weights = weights.tril()
        if self.real is not None:
            itself = torch.eye(len(self.real[0]), dtype=torch.bool) & self.causal  # or padding would see nothing
            weights = weights * (self.real[:, None, None] | itself)
        return (weights / weights.sum(-1, keepdim=True) @ value).transpose(1, 2).contiguous(), None


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_linear_attention_is_the_one_of_its_definition_in_every_architecture(name: str) -> None:
    from transformers import AttentionInterface

    mask = torch.arange(70) >= torch.tensor([[0], [29]])
    inputs = inputs_of(name, 70, mask)
    found = asked(answers(approximate(LINEAR, tiny(name, 70)), inputs), inputs)
    model: Any = tiny(name, 70).double()
    AttentionInterface.register("kernel", Kernel(name in DECODERS, None if name == "vit" else mask))
    model.set_attn_implementation("kernel")
    doubled = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
    assert far(found, asked(answers(model, doubled), inputs)) < 1e-4


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("method", [PROJECTED, HASHED], ids=lambda method: method.name)
def test_short_texts_are_answered_exactly(method: ApproximateAttention, name: str) -> None:
    """A text of 16 tokens by itself, and beside one of 40, from which it is padded."""
    inputs = inputs_of(name, 16)
    assert far(answers(approximate(method, tiny(name, 16)), inputs), answers(tiny(name, 16), inputs)) < 1e-5
    if name == "vit":
        return
    real = torch.arange(40) < torch.tensor([[40], [16]])
    inputs = inputs_of(name, 40, real)
    found, wanted = answers(approximate(method, tiny(name, 40)), inputs), answers(tiny(name, 40), inputs)
    assert far(found[1].squeeze()[:16], wanted[1].squeeze()[:16]) < 1e-5
    assert far(found[0], wanted[0]) > 1e-3


@ALL
@pytest.mark.parametrize("name", ["bert-words", "gpt2", "llama"])
def test_padding_has_no_say_and_a_text_is_read_as_it_is_alone(method: ApproximateAttention, name: str) -> None:
    """Wherever its padding is. Positions are told to who embeds them."""
    if name in CAUSAL and method is not LINEAR:
        return
    real = torch.stack([torch.arange(90) >= 30, torch.arange(90) < 60])
    inputs = inputs_of(name, 90, real)
    inputs["input_ids"][1, :60] = inputs["input_ids"][0, 30:]
    inputs["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)
    model = approximate(method, tiny(name, 90))
    found = answers(model, inputs)
    other = {**inputs, "input_ids": inputs["input_ids"].masked_fill(~real, 7)}
    assert torch.equal(asked(found, inputs), asked(answers(model, other), inputs))
    alone = answers(model, {n: v[1:, :60] for n, v in inputs.items()})[0]
    assert far(found[1, :60], alone) < 1e-3 and far(found[0, 30:], alone) < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_language_model_says_nothing_of_what_is_to_come(name: str) -> None:
    model, inputs = approximate(LINEAR, tiny(name, 90)), inputs_of(name, 90)
    before = answers(model, inputs)
    for place in (1, 63, 64, 80):
        other = {**inputs, "input_ids": inputs["input_ids"].clone()}
        other["input_ids"][:, place] += 1
        after = answers(model, other)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place], before[:, place])


@pytest.mark.parametrize("name", ENCODERS)
def test_each_attention_has_pools_of_its_own_and_all_of_them_are_used(name: str) -> None:
    model = approximate(PROJECTED, tiny(name, 40))
    model(**inputs_of(name, 40)).logits.square().sum().backward()
    pools = {n: p for n, p in model.named_parameters() if n.endswith(".pools")}
    assert len(pools) == (1 if name == "albert" else 2)  # ALBERT's layers are one
    assert all(p.shape == (16, 64) and p.grad is not None and bool(p.grad.any()) for p in pools.values())


# -- refused ---------------------------------------------------------------------------------------


@ALL
def test_models_that_it_is_not_for_are_told_in_one_line(method: ApproximateAttention) -> None:
    told = {
        "t5": "encoder|interface",
        "bart": "looks at an encoder",
        "modernbert": "window of its own",
        "gemma3": "window of its own",
        "deberta": "interface|bias by position",
        "resnet": "interface",
    }
    for name, reason in told.items():
        found = method.supports(spec_of(name), HARDWARE)
        assert found is not None and any(part in found for part in reason.split("|")), (name, found)
    for name in DECODERS:
        found = method.supports(spec_of(name), HARDWARE)
        if method is LINEAR:
            assert found is None
        else:
            assert found is not None and "look back only" in found and "to come" in found
    assert all(method.supports(spec_of(name), HARDWARE) is None for name in ENCODERS)


def test_values_that_cannot_be_are_refused() -> None:
    for cls, field in (
        (AttentionLinear, "features"), (AttentionProjected, "rank"), (AttentionHashed, "rounds"),
        (AttentionHashed, "size"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{field} = 0: must be at least 1"):
            cls(**{field: 0})
        with pytest.raises(ValueError, match=r"recovery_epochs = -1.0: must be 0"):
            cls(recovery_epochs=-1.0)
