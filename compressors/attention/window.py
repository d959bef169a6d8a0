"""attention-window: a token looks at its neighbours (local attention; Luong et al. 2015, Parmar et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressors.attention.pattern import Pattern
from compressors.attention.sparse import SparseAttention


@dataclass(frozen=True)
class AttentionWindow(SparseAttention):
    """A token looks at `window` neighbours on each side and at itself; where a model reads from left to right, at the
    last `window` tokens, itself among them, and its key-value cache holds no more. Through k layers what a token says
    travels k windows far.

    window: tokens, see above. recovery_epochs, learning_rate: of a distillation, 0 for none.
    """

    name: ClassVar[str] = "attention-window"

    @property
    def pattern(self) -> Pattern:
        return Pattern(self.window)
