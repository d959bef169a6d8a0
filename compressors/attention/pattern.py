"""Which tokens a token looks at."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """Who sees whom in a text. A place is counted from the text's first token, 0, padding left out.

    window: how many neighbours on each side a token sees beside itself; where it looks back only (causal), how many
    tokens up to itself. first: so many tokens at the beginning are seen by all. stride: so is each so-many-th, from the
    first one on; 0 for none. first_see: whether those at the beginning see all others too, where they may look ahead.
    """

    window: int
    first: int = 0
    stride: int = 0
    first_see: bool = False

    @property
    def name(self) -> str:
        """What transformers knows it by."""
        sees = "-see" if self.first_see else ""
        return f"pressbench-window-{self.window}-first-{self.first}{sees}-stride-{self.stride}"

    @property
    def some_are_shared(self) -> bool:
        """Whether there are tokens that all see."""
        return bool(self.first or self.stride)

    def back(self, causal: bool) -> int:
        """How far back the window reaches, in tokens before a token itself."""
        return self.window - 1 if causal else self.window

    def ahead(self, causal: bool) -> int:
        """How far ahead it reaches."""
        return 0 if causal else self.window

    def shared(self, tokens: int) -> list[int]:
        """The places, ascending, of those that all see in a text of so many tokens."""
        every = range(0, tokens, self.stride) if self.stride else ()
        return sorted({*range(min(self.first, tokens)), *every})

    def pairs(self, tokens: int, causal: bool) -> int:
        """How many pairs of tokens of a text see each other, counted one way: dense attention has tokens² of them, or
        tokens (tokens + 1) / 2 where it is causal."""
        shared, total = self.shared(tokens), 0
        for place in range(tokens):
            if self.first_see and not causal and place < self.first:
                total += tokens
                continue
            low, high = max(0, place - self.back(causal)), min(tokens, place + self.ahead(causal) + 1)
            behind = 0 if causal else len(shared) - bisect_left(shared, high)
            total += high - low + bisect_left(shared, low) + behind
        return total
