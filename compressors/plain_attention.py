"""Attention by plain products while a model is trained in bf16.

The backward pass of torch's fused kernel on a CPU is slow in bf16: of MiniLM with 16 × 128 tokens 31 ms a layer, where
two products and a softmax take 7, and on 17 places, as a small image has, 9 ms for 1. A training step was 28 % that
kernel. In fp32 the two are alike, and of long texts the fused one does not keep what plain products must: so it is
replaced in bf16 alone, up to `MOST_KEYS`. (torch 2.13, two cores of an AMD EPYC with AVX-512 and native bf16.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MOST_KEYS = 512
"""Keys up to which steps were faster with plain products: of MiniLM with 512 tokens, padded, by 5 %. At 2,048 a layer
takes 265 ms with them and 214 without, and they keep the scores of every pair besides."""


class PlainAttention(TorchFunctionMode):
    """Within it `scaled_dot_product_attention` is made of plain products where that is faster, with the same answer but
    for rounding. A query that may attend to nothing, as one of padding, gets the mean of all in the place of nothing:
    no loss looks at it."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if function is F.scaled_dot_product_attention and _faster(*args[:2], **given):
            return plain(*args, **given)
        return function(*args, **given)


def _faster(query: Tensor, key: Tensor, *_: Any, dropout_p: float = 0.0, **__: Any) -> bool:
    low = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    trained = torch.is_grad_enabled() and query.requires_grad
    return low and trained and not dropout_p and query.device.type == "cpu" and key.shape[-2] <= MOST_KEYS


def plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As torch's function of that signature, without dropout. query: (…, heads, queries, width); key, value:
    (…, heads, keys, width), with fewer heads where `enable_gqa`."""
    if enable_gqa:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    least = torch.finfo(scores.dtype).min  # not minus infinity, whose softmax is no number where all are masked
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, least)
    elif attn_mask is not None:
        scores = scores + attn_mask.to(scores.dtype).clamp(min=least / 2)
    return scores.softmax(-1) @ value
