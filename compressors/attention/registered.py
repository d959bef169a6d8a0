"""Another attention in the models of transformers, through its own interface: a model asks by a name in its
configuration for what computes attention and for what makes its mask.

The mask is that of padding alone. One over all pairs of tokens, which transformers would make, has no place here.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.attention.blocks import attend
from compressors.attention.pattern import Pattern
from compressors.interface import Unsupported

UNKNOWN = ("position_bias", "softcap", "s_aux", "sliding_window")
"""What some layers give their attention beside queries, keys and values, and this one does not know."""


class Attention(Protocol):
    """What computes attention: (batch, queries, heads, width), of queries (batch, heads, queries, width), and keys and
    values (batch, key heads, keys, width). module: the layer that asks. causal: whether tokens look back only. real:
    (batch, keys) bool, False at padding, None where there is none. scale: of the scores, 1/√width where None."""

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, real: Tensor | None,
        scale: float | None, dropout: float,
    ) -> Tensor: ...  # fmt: skip


def set_attention(model: nn.Module, name: str, attention: Attention, first: int = 0) -> None:
    """From now on `model` attends by `attention`, in this process. name: what transformers knows it by, which must say
    all that it depends on. first: so many tokens at the beginning a bounded cache never lets go of."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, partial(_attention, attention))
    AttentionMaskInterface.register(name, partial(_padding, first))
    model.set_attn_implementation(name)  # type: ignore[operator]


def set_pattern(model: nn.Module, pattern: Pattern) -> None:
    """From now on `model` attends by `pattern`, in this process."""

    def sparse(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Tensor:
        return attend(query, key, value, pattern, **given)

    set_attention(model, pattern.name, sparse, pattern.first)


def is_causal(model: nn.Module) -> bool:
    """Whether its tokens look back only. Raises UnknownStructure for a model whose attention is not computed through
    the interface, or is more than all tokens of one text looking at each other; Unsupported where a method like this
    one was there before."""
    import transformers

    name = type(model).__name__
    config: Any = model.config
    parts = [part for part in model.modules() if isinstance(part, transformers.PreTrainedModel)]
    sides = {part.is_causal for part in model.modules() if hasattr(part, "is_causal")}
    if not sides or not all(part._can_set_attn_implementation() for part in parts):
        raise surgery.UnknownStructure(f"{name} does not compute attention through transformers' attention interface")
    if getattr(config, "is_encoder_decoder", False):
        raise surgery.UnknownStructure("its decoder looks at an encoder: only attention within one text is covered")
    if len(sides) > 1 or not getattr(config, "is_causal", True):
        raise surgery.UnknownStructure(f"some layers of {name} look ahead and some do not: only one of both is covered")
    names = [own for own, _ in (*model.named_modules(), *model.named_parameters())]
    if any("relative" in own.rpartition(".")[2] for own in names):
        raise surgery.UnknownStructure("its scores have a bias by position: this attention knows queries and keys only")
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or getattr(config, "sliding_window", None):
        raise surgery.UnknownStructure(f"{name} has a window of its own ({', '.join(kinds) or 'sliding_window'})")
    if str(config._attn_implementation).startswith("pressbench-"):
        raise Unsupported("its attention was replaced before: it can have one only")
    return bool(sides.pop())


def _attention(
    attention: Attention, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, is_causal: bool | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """In the place of transformers' `sdpa_attention_forward`: (batch, queries, heads, width), and no weights."""
    _check_run()
    if odd := [name for name in UNKNOWN if more.get(name) is not None]:
        raise Unsupported(
            f"{type(module).__name__} gives its attention a {odd[0]}, which the one in its place does not know"
        )
    if attention_mask is not None and (attention_mask.dtype != torch.bool or attention_mask.shape[1:3] != (1, 1)):
        raise Unsupported(f"{type(module).__name__} has a mask of its own: only that of padding is taken")
    answer = attention(
        module, query, key, value, scale=scaling, dropout=dropout,
        causal=getattr(module, "is_causal", True) if is_causal is None else is_causal,
        real=None if attention_mask is None else attention_mask[:, 0, 0],
    )  # fmt: skip
    return answer.contiguous(), None


def _check_run() -> None:
    """Raises where a graph is made of what runs, as ONNX Runtime and OpenVINO would have it."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        raise Unsupported(
            "its attention goes by the length of a text, in blocks, and an exported graph cannot leave open how many "
            "there are: neither ONNX Runtime nor OpenVINO can follow it"
        )


def _padding(
    first: int, *, kv_length: int, mask_function: Any, attention_mask: Tensor | None = None, **more: Any
) -> Tensor | None:
    """In the place of transformers' `sdpa_mask`: (batch, 1, 1, keys) bool, False at padding, None where there is none.

    attention_mask: (batch, tokens) bool, of all tokens so far, of which a bounded cache holds the first ones and the
    last ones."""
    from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

    _check_run()
    if mask_function not in (causal_mask_function, bidirectional_mask_function):
        raise Unsupported("the model asks for a mask of its own: only that of padding is taken")
    if attention_mask is None:
        return None
    missing = attention_mask.shape[1] - kv_length
    if missing < 0:
        raise Unsupported(f"a mask of {attention_mask.shape[1]} tokens for {kv_length} of them")
    if missing:
        if first and not bool(attention_mask[:, 0].all()):
            raise Unsupported("texts with padding before them cannot go on once their cache has let go of tokens")
        keys = [attention_mask[:, :first], attention_mask[:, first + missing :]]
        attention_mask = torch.cat(keys, 1)
    return None if bool(attention_mask.all()) else attention_mask[:, None, None]
