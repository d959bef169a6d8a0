"""Dense attention in float64 under a mask over all pairs of tokens, written down from what the methods say in words."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch
from tiny_architectures import spec_of
from torch import Tensor, nn

from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.sinks import AttentionSinks
from compressors.attention.sparse import SparseAttention
from compressors.attention.strided import AttentionStrided
from compressors.skeleton import skeleton

CAUSAL = {"gpt2", "llama"}


def may_see(method: SparseAttention, causal: bool, one: int, other: int) -> bool:
    """Whether the token at place `one` of a text sees the one at `other`."""
    if causal and other > one:
        return False
    if one - other < method.window if causal else abs(one - other) <= method.window:
        return True
    if isinstance(method, AttentionGlobal):
        return other < method.globals or (one < method.globals and not causal)
    if isinstance(method, AttentionStrided):
        return other % method.stride == 0
    return isinstance(method, AttentionSinks) and other < method.sinks


def tiny(name: str, tokens: int) -> nn.Module:
    """A model of that architecture for texts of so many tokens, or images of one patch less."""
    return copy.deepcopy(_made(name, tokens))


@functools.cache
def _made(name: str, tokens: int) -> nn.Module:
    torch.manual_seed(5)
    settings: dict[str, Any] = {"num_hidden_layers": 2, "n_layer": 2, "num_labels": 3, "layer_types": None}
    if name == "vit":
        settings |= {"image_size": (1, tokens - 1), "patch_size": 1, "num_channels": 1}
    else:
        settings |= {"max_position_embeddings": tokens + 2, "n_positions": tokens}  # RoBERTa begins with 2
    model = skeleton({**spec_of(name).config, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # transformers starts out so small that every answer is nearly the same
                parameter.mul_(3)
    return model


def inputs_of(name: str, tokens: int, real: Tensor | None = None) -> dict[str, Tensor]:
    """Two texts, or as many as `real` has rows, (texts, tokens) bool; of a ViT two images."""
    coin = torch.Generator().manual_seed(tokens)
    if name == "vit":
        return {"pixel_values": torch.randn(2, 1, 1, tokens - 1, generator=coin)}
    real = torch.ones(2, tokens, dtype=torch.bool) if real is None else real
    ids = torch.randint(5, 300, real.shape, generator=coin)
    return {"input_ids": ids.masked_fill(~real, 0), "attention_mask": real.long()}


class Dense:
    """Attention for transformers in the precision of what it is given, under a mask of all pairs."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask  # (1 or batch, 1, queries, keys) bool

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        scaling: float | None = None, **more: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * (scaling or query.shape[-1] ** -0.5)
        share = scores.masked_fill(~self.mask, -torch.inf).softmax(-1)
        return (share @ value).transpose(1, 2).contiguous(), None


def masked(model: nn.Module, method: SparseAttention, causal: bool, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the model answers in float64 with dense attention under the mask of a method. It is changed."""
    from transformers import AttentionInterface

    made: Any = model.double()
    real = inputs.get("attention_mask")
    tokens = made.config.image_size[1] + 1 if real is None else real.shape[1]
    begins = [0] if real is None else real.argmax(1).tolist()
    places = range(tokens)
    mask = torch.tensor([[[may_see(method, causal, i - b, j - b) for j in places] for i in places] for b in begins])
    if real is not None:
        mask = mask & real.bool()[:, None] | torch.eye(tokens, dtype=torch.bool)
    AttentionInterface.register("under-a-mask", Dense(mask[:, None]))
    made.set_attn_implementation("under-a-mask")
    with torch.no_grad():
        return made(**{name: v.double() if v.is_floating_point() else v for name, v in inputs.items()}).logits
