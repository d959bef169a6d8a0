"""The inputs and the output of a graph that was exported elsewhere, whatever they are called there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

OPTION = "ports"
"""The option of an artifact that holds them; without it a graph has the suite's own names."""


@dataclass(frozen=True)
class Ports:
    """inputs: name in the graph -> name in the suite. zeros: inputs of the graph that are noughts in the shape of the
    first. output: name in the graph of what is scored."""

    inputs: Mapping[str, str]
    zeros: tuple[str, ...]
    output: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Ports | None:
        """Those in the options of an artifact."""
        found = options.get(OPTION)
        return None if found is None else cls(found["inputs"], tuple(found["zeros"]), found["output"])

    def as_option(self) -> dict[str, Any]:
        """What `of` reads, JSON."""
        return {OPTION: {"inputs": dict(self.inputs), "zeros": list(self.zeros), "output": self.output}}

    def fed(self, inputs: Mapping[str, np.ndarray], types: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`inputs`, by the suite's names, as the graph wants them. types: its name of an input -> numpy's type."""
        found = {theirs: np.asarray(inputs[ours], dtype=types[theirs]) for theirs, ours in self.inputs.items()}
        first = next(iter(found.values()))
        return found | {name: np.zeros(first.shape, types[name]) for name in self.zeros}
