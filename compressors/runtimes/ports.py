"""The inputs and the output of a graph that was exported elsewhere, whatever they are called there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPTION = "ports"
"""The option of an artifact that holds them; without it a graph has the suite's own names."""


@dataclass(frozen=True)
class Kept:
    """The keys or the values of one layer in a graph that is given them and hands them on, each (batch, heads, tokens,
    width). output: its name of what it hands on, those that it was given with the new ones behind."""

    output: str
    heads: int
    width: int


@dataclass(frozen=True)
class Ports:
    """inputs: name in the graph -> name in the suite. zeros: inputs of the graph that are noughts in the shape of the
    first. output: name in the graph of what is scored. places: its input of the place of each new token in its text,
    (batch, sequence), where it has one. past: its inputs of what is cached, empty where it keeps no cache or keeps it
    by itself."""

    inputs: Mapping[str, str]
    zeros: tuple[str, ...]
    output: str
    places: str | None = None
    past: Mapping[str, Kept] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Ports | None:
        """Those in the options of an artifact."""
        found = options.get(OPTION)
        if found is None:
            return None
        past = {name: Kept(**kept) for name, kept in found.get("past", {}).items()}
        return cls(found["inputs"], tuple(found["zeros"]), found["output"], found.get("places"), past)

    def as_option(self) -> dict[str, Any]:
        """What `of` reads, JSON."""
        found = {"inputs": dict(self.inputs), "zeros": list(self.zeros), "output": self.output}
        past = {name: vars(kept) for name, kept in self.past.items()}
        return {OPTION: {**found, "places": self.places, "past": past}}

    def fed(self, inputs: Mapping[str, np.ndarray], types: Mapping[str, Any], cached: int = 0) -> dict[str, np.ndarray]:
        """`inputs`, by the suite's names, as the graph wants them, for texts after `cached` tokens of each: what is
        cached is left to the caller, but where nothing is. types: its name of an input -> numpy's type."""
        found = {theirs: np.asarray(inputs[ours], dtype=types[theirs]) for theirs, ours in self.inputs.items()}
        first = next(iter(found.values()))
        found |= {name: np.zeros(first.shape, types[name]) for name in self.zeros}
        if self.places is not None:
            batch, sequence = inputs["input_ids"].shape
            row = np.arange(cached, cached + sequence, dtype=types[self.places])
            found[self.places] = np.tile(row, (batch, 1))
        if not cached:
            found |= {n: np.zeros((len(first), k.heads, 0, k.width), types[n]) for n, k in self.past.items()}
        return found
