"""attention-sinks: the first tokens of a text and its last ones, in a cache that does not grow (StreamingLLM, Xiao et
al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from compressors import surgery
from compressors.attention.pattern import Pattern
from compressors.attention.sparse import SparseAttention


@dataclass(frozen=True)
class AttentionSinks(SparseAttention):
    """A token looks at the first tokens of the text, where models put the attention that they have no use for, and at
    the last ones, and its key-value cache holds no others. For models that read from left to right.

    Every token keeps its place, so that what is computed is dense attention under that mask, exactly. StreamingLLM
    counts the places anew within the cache, by which a text may become longer than the model was trained for; here it
    may not.

    window: the last tokens, with the one that looks. sinks: the first ones. recovery_epochs, learning_rate: of a
    distillation, 0 for none.
    """

    name: ClassVar[str] = "attention-sinks"

    sinks: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sinks < 1:
            raise ValueError(f"sinks = {self.sinks!r}: must be at least 1 token; attention-window has none")

    @property
    def pattern(self) -> Pattern:
        return Pattern(self.window, first=self.sinks)

    def check(self, model: nn.Module) -> bool:
        if not super().check(model):
            raise surgery.UnknownStructure("its tokens look ahead too: sinks are for what reads from left to right")
        return True
