"""A key-value cache that holds what a pattern still looks at: the first tokens of a text and those in the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressors.attention.pattern import Pattern
from compressors.runtimes.generation import generates, layered


class WindowLayer:
    """What one attention keeps: the `first` tokens, and the `window` - 1 before the next one. A layer of transformers'
    caches; keys and values go in and come out as (batch, heads, tokens, width). Positions were turned into them before,
    so that a token stands where it stood, whatever has gone.
    """

    is_sliding = is_compileable = supports_early_init = is_initialized = False
    is_croppable = True
    keys: Tensor
    values: Tensor

    def __init__(self, first: int, window: int) -> None:
        self.first, self.window = first, window
        self.tokens = 0  # so many there were
        self.recorded: tuple[Tensor, Tensor, int] | None = None  # keys, values and tokens to go back to

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens; what they may see, themselves included."""
        self.tokens += keys.shape[2]
        if self.is_initialized:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values, self.is_initialized = self._kept(keys), self._kept(values), True
        return keys, values

    def _kept(self, found: Tensor) -> Tensor:
        """Copied: a view would hold all that it was cut from."""
        recent = self.window - 1
        if found.shape[2] <= self.first + recent:
            return found if self.is_initialized else found.clone()
        return torch.cat([found[:, :, : self.first], found[:, :, found.shape[2] - recent :]], 2)

    def activate_past_recording(self) -> None:
        """From now on `crop` can go back to where it is now, or was after the last `crop`."""
        if self.is_initialized:
            self.recorded = self.keys, self.values, self.tokens

    def crop(self, tokens_to_remove: int) -> None:
        """Drop so many tokens at the end, 0 or a negative number as with transformers' own; the rest is then as if they
        had never been there. Raises ValueError where what they pushed out is gone."""
        if not self.is_initialized:
            return
        left = self.tokens - abs(tokens_to_remove)
        if self.recorded is not None and left == self.recorded[2]:
            self.keys, self.values, self.tokens = self.recorded
        elif self.tokens == self.keys.shape[2]:  # none has gone
            self.keys, self.values, self.tokens = self.keys[:, :, :left].clone(), self.values[:, :, :left].clone(), left
        elif tokens_to_remove:
            raise ValueError(f"of {self.tokens} tokens some are gone that were seen at {left}: it cannot go back there")
        if self.recorded is not None:
            self.activate_past_recording()

    def get_seq_length(self) -> int:
        """How many tokens there were."""
        return self.tokens

    def get_max_length(self) -> int:
        """-1: any number of tokens."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys so many new tokens look at, and how many tokens are not among them."""
        held = self.keys.shape[2] if self.is_initialized else 0
        return held + query_length, self.tokens - held


def bounded(model: nn.Module, pattern: Pattern) -> Callable[[], Any] | None:
    """What makes an empty cache for a language model that attends by `pattern`; None for a model that generates no
    text, and where tokens that all see lie all over the text."""
    if pattern.stride or not generates(model):
        return None
    return layered(model, lambda: WindowLayer(pattern.first, pattern.window))
