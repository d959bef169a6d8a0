"""attention-global: a window, and a few tokens that see all and are seen by all (Longformer, Beltagy et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressors.attention.pattern import Pattern
from compressors.attention.sparse import SparseAttention


@dataclass(frozen=True)
class AttentionGlobal(SparseAttention):
    """A token looks at its neighbours and at the first tokens of the text, and these look at all others. A classifier
    that reads the first token keeps what it knew of the whole text. Where a model reads from left to right, the first
    are seen by all and see what is before them. Their queries, keys and values are made by the same weights as all
    others, which Longformer has trained apart.

    window: tokens as of `attention-window`. globals: how many are first. recovery_epochs, learning_rate: of a
    distillation, 0 for none.
    """

    name: ClassVar[str] = "attention-global"

    globals: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.globals < 1:
            raise ValueError(f"globals = {self.globals!r}: must be at least 1 token")

    @property
    def pattern(self) -> Pattern:
        return Pattern(self.window, first=self.globals, first_see=True)
