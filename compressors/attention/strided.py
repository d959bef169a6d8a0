"""attention-strided: a window, and every so-many-th token of the text (Sparse Transformer, Child et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressors.attention.pattern import Pattern
from compressors.attention.sparse import SparseAttention


@dataclass(frozen=True)
class AttentionStrided(SparseAttention):
    """A token looks at its neighbours and at the tokens at places 0, stride, 2 · stride, …, as far as it may: the
    same for all, as in Child's fixed pattern, so that a block of queries has its keys in common. What all see grows
    with the text, n / stride of n tokens, and so does the key-value cache of a language model, which keeps every
    token.

    window: tokens as of `attention-window`. stride: how far apart the tokens are that all see. recovery_epochs,
    learning_rate: of a distillation, 0 for none.
    """

    name: ClassVar[str] = "attention-strided"

    stride: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 2:
            raise ValueError(f"stride = {self.stride!r}: must be at least 2 tokens, at 1 every token is seen")

    @property
    def pattern(self) -> Pattern:
        return Pattern(self.window, stride=self.stride)
