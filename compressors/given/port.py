"""An input or an output of a graph, as its file tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Port:
    """An input or an output. dims: numbers where a size is fixed, None where it is free."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]

    @classmethod
    def read(cls, facts: Sequence[Sequence[Any]]) -> tuple[Port, ...]:
        """Of facts: (name, dtype, dims) each."""
        return tuple(cls(name, dtype, tuple(dims)) for name, dtype, dims in facts)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('?' if d is None else str(d) for d in self.dims)}]"
