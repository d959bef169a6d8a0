"""What the methods of sparse attention share: all but the pattern."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import surgery
from compressors.attention.cache import bounded
from compressors.attention.pattern import Pattern
from compressors.attention.registered import is_causal, set_pattern
from compressors.interface import Compressed, Context, Effect, Examples, Hardware, ModelSpec
from compressors.recovery import Recovering
from compressors.training import real_positions


@dataclass(frozen=True)
class SparseAttention(Recovering):
    """A token looks at its neighbours and at a few tokens that all see; no weight changes unless it recovers.

    window: neighbours on each side that a token sees beside itself; of a language model the last tokens, with itself.
    recovery_epochs, learning_rate, adapter_rank: of a short distillation. By default there is none: the weights were
    trained for what the nearest tokens say as well, and a window that holds most of what they look at leaves little to
    learn.
    """

    family: ClassVar[str] = "attention"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"16": {"window": 16}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"window": (64, 32, 16, 8)}

    window: int = 32
    recovery_epochs: float = 0.0
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window = {self.window!r}: must be at least 1 token")
        super().__post_init__()

    @property
    @abc.abstractmethod
    def pattern(self) -> Pattern:
        """Who sees whom."""

    def check(self, model: nn.Module) -> bool:
        """Whether its tokens look back only. Raises UnknownStructure for a model that cannot have this attention."""
        return is_causal(model)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self.check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        told = self._told(model, context.require_calibration(), self.check(model))
        self.restructure(model, {})
        self.recover(model, context)
        return Compressed(model, told=told)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        set_pattern(model, self.pattern)
        made: Any = model
        if cache := bounded(model, self.pattern):
            made.own_cache = cache
        return model

    @torch.no_grad()
    def _told(self, model: nn.Module, examples: Examples, causal: bool) -> dict[str, Any]:
        """What is left out of the longest of the calibration examples."""
        real = real_positions(examples, decoder=False)
        if real is not None:
            tokens = int(real.sum(1).max())
        else:
            tokens = model(**examples[:1].inputs, output_hidden_states=True).hidden_states[-1].shape[1]
        pairs = self.pattern.pairs(tokens, causal)
        dense = tokens * (tokens + 1) // 2 if causal else tokens * tokens
        left = "nothing is left out" if pairs == dense else f"{1 - pairs / dense:.0%} of the pairs are left out"
        return {"tokens": tokens, "pairs": pairs, "dense_pairs": dense, "seen": f"texts of {tokens} tokens: {left}"}
