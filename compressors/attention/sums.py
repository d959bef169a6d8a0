"""A key-value cache that holds no keys and no values: sums of them, as large after a million tokens as after one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from compressors.attention.features import Sums
from compressors.interface import PressbenchError


class SumsLayer:
    """What one attention by features keeps of a text. A layer of transformers' caches: keys and values of new tokens go
    in and come out as they are, (batch, heads, tokens, width), and the keys know the layer that they came from, by
    which the attention finds the sums of all before, and leaves those with the new tokens in them.
    """

    is_sliding = is_compileable = supports_early_init = is_initialized = False
    is_croppable = True

    def __init__(self) -> None:
        self.tokens = 0  # so many there were
        self.sums: Sums | None = None
        self.waits = False  # for the sums with the new tokens in them
        self.recorded: tuple[Sums | None, int] | None = None  # sums and tokens to go back to

    @staticmethod
    def of(keys: Tensor) -> SumsLayer | None:
        """The layer that these keys came from; None where a cache holds all keys, or there is none."""
        return getattr(keys, "_sums_layer", None)

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens, which are all that come back."""
        if self.waits:
            raise PressbenchError("the model does not hand keys from its cache to its attention as they are")
        keys._sums_layer = self  # type: ignore[attr-defined]
        self.tokens += keys.shape[2]
        self.is_initialized = self.waits = True
        return keys, values

    def keep(self, sums: Sums) -> None:
        """The sums of all tokens so far."""
        self.sums, self.waits = Sums(sums.tops.detach(), sums.held.detach()), False

    def activate_past_recording(self) -> None:
        """From now on `crop` can go back to where it is now, or was after the last `crop`."""
        self.recorded = self.sums, self.tokens

    def crop(self, tokens_to_remove: int) -> None:
        """Drop so many tokens at the end, 0 or a negative number as with transformers' own. Raises ValueError where it
        cannot go back so far: sums do not tell one token from the others."""
        left = self.tokens - abs(tokens_to_remove)
        if self.recorded is not None and left == self.recorded[1]:
            self.sums, self.tokens = self.recorded
        elif left == 0:
            self.sums, self.tokens = None, 0
        elif tokens_to_remove:
            raise ValueError(f"sums of {self.tokens} tokens do not tell what they were at {left}: it cannot go back")

    def get_seq_length(self) -> int:
        """How many tokens there were."""
        return self.tokens

    def get_max_length(self) -> int:
        """-1: any number of tokens."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys so many new tokens look at one by one, and how many tokens are not among them."""
        return query_length, self.tokens
