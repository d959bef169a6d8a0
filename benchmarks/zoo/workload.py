"""What is timed: the shape of the work, for whatever model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from compressors.interface import PressbenchError

Kind = Literal["forward", "prefill", "decode", "generate"]
NEW = ("decode", "generate")
"""Kinds that make a stated number of new tokens."""


@dataclass(frozen=True)
class Workload:
    """One call of a lane.

    forward: one pass over `batch` examples of `sequence` tokens (None where the model has one size of input).
    prefill: `batch` prompts of `sequence` tokens up to the first new token of each, the cache being filled.
    decode: `new_tokens` tokens each, one after another and greedily, after a context of `sequence` tokens that
    is in the cache already.
    generate: of an encoder with a decoder: `batch` source texts of `sequence` tokens read, and `new_tokens` tokens each
    written greedily, with a cache. A token that ends a text is one like any other: the work is the same for all.
    """

    batch: int
    sequence: int | None = None
    kind: Kind = "forward"
    new_tokens: int = 0

    @property
    def name(self) -> str:
        """`8x128`, or `8` for a model without a sequence axis; `prefill-1x512`, `decode-1x128-16`,
        `generate-8x64-32`."""
        shape = f"{self.batch}x{self.sequence}" if self.sequence else str(self.batch)
        after = f"-{self.new_tokens}" if self.kind in NEW else ""
        return shape if self.kind == "forward" else f"{self.kind}-{shape}{after}"

    @property
    def generates(self) -> bool:
        """Whether it needs a key-value cache."""
        return self.kind != "forward"

    @property
    def tokens(self) -> int | None:
        """Tokens that one call works off: those read, or those made where some are; None without a sequence axis."""
        each = self.new_tokens if self.kind in NEW else self.sequence
        return None if each is None else self.batch * each


def prefill(batch: int, tokens: int) -> Workload:
    """The prompt, read."""
    return Workload(batch, tokens, "prefill")


def decode(batch: int, context: int, new_tokens: int) -> Workload:
    """The answer, token by token."""
    return Workload(batch, context, "decode", new_tokens)


def generate(batch: int, tokens: int, new_tokens: int) -> Workload:
    """Source texts, read, and what is written of them."""
    return Workload(batch, tokens, "generate", new_tokens)


_NAMES = re.compile(r"(?:(prefill|decode|generate)-)?([1-9]\d*)(?:x([1-9]\d*))?(?:-([1-9]\d*))?")


def parse_workload(name: str) -> Workload:
    """The workload of that name. Raises PressbenchError where none is called so."""
    found = _NAMES.fullmatch(name)
    if found:
        kind, batch, sequence, new = found[1] or "forward", int(found[2]), found[3], found[4]
        workload = Workload(batch, int(sequence) if sequence else None, cast(Kind, kind), int(new or 0))
        if workload.name == name and (sequence or kind == "forward") and bool(new) == (kind in NEW):
            return workload
    raise PressbenchError(
        f"no workload: {name!r}; they look like 8x128, 32, prefill-1x512, decode-1x128-16 and generate-8x64-32"
    )
