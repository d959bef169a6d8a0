"""What the methods of approximate attention share: all but what stands for softmax."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.attention.registered import is_causal
from compressors.interface import Compressed, Context, Effect, Examples, Hardware, ModelSpec, Unsupported
from compressors.recovery import Recovering
from compressors.runtimes.executed import FEWER, Uncounted, of_torch


@dataclass(frozen=True)
class ApproximateAttention(Recovering):
    """All tokens see each other, as far as the model lets them, by something that is not softmax and grows with the
    length of a text and not with its square. What the weights were trained for it is not: it needs its recovery.

    recovery_epochs: passes over the training data; learning_rate: its peak; adapter_rank: train adapters instead.
    """

    family: ClassVar[str] = "attention"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}, "alone": {"recovery_epochs": 0.0}}

    recovery_epochs: float = 0.5

    def check(self, model: nn.Module) -> bool:
        """Whether its tokens look back only. Raises UnknownStructure for a model that cannot have this attention."""
        return is_causal(model)

    @abc.abstractmethod
    def structure(self, model: nn.Module, context: Context) -> dict[str, Any]:
        """What `restructure` needs beside the parameters."""

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self.check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        self.check(model)
        structure, examples = self.structure(model, context), context.require_calibration()
        before = _operations(model, examples)
        self.restructure(model, structure)
        ratio = _operations(model, examples) / before
        if ratio >= FEWER:
            raise Unsupported(
                f"{self.name} is for long texts: on those of the calibration data it would execute {ratio:.2f}× the "
                "operations of the model as it is"
            )
        self.recover(model, context)
        return Compressed(model, structure, told={"operations": round(ratio, 3)})


@torch.no_grad()
def _operations(model: nn.Module, examples: Examples) -> int:
    """Of a pass over one example. Raises Unsupported where they cannot be counted."""
    try:
        return of_torch(model, lambda: model(**examples[:1].inputs)).total
    except Uncounted as error:
        raise Unsupported(f"whether it would compute less cannot be told: {error}") from None


def dense(query: Tensor, key: Tensor, value: Tensor, real: Tensor | None, scale: float | None) -> Tensor:
    """Softmax over all keys, what short texts are answered by. Shapes as of `registered.Attention`, but for the answer,
    (batch, heads, queries, width)."""
    mask = None if real is None else (real | ~real.any(1, keepdim=True))[:, None, None]
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped)


def lengths(real: Tensor | None, keys: int, device: torch.device) -> Tensor:
    """(batch or 1, 1) int64: how many tokens each text has, 1 at least."""
    if real is None:
        return torch.full((1, 1), keys, device=device)
    return real.sum(1, keepdim=True).clamp_min(1)
