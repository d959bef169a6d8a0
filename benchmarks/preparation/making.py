"""How long an artifact took to make: all that a person waited for, the start of the process and the saving too, as the
stage that made it counts it, whether that was in this run or its files came from the cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import SEAL


@dataclass(frozen=True)
class Made:
    """seconds: of all steps, when each was made, to tenths, as stages are told. here: of these, those of this run."""

    seconds: float
    here: float


class Makings:
    """Of a run: what it made, step by step."""

    def __init__(self) -> None:
        self._chains: dict[Path, tuple[Path, ...]] = {}
        self._here: set[Path] = set()

    def step(self, entry: Path, source: Path, here: bool) -> None:
        """`entry` was made from the artifact in `source`. here: in this run, not found in the cache."""
        self._chains[entry] = (*self._chains.get(source, ()), entry)
        if here:
            self._here.add(entry)

    def of(self, directory: Path) -> Made | None:
        """What the artifact in that folder took; None of one that no step made: the dense model."""
        chain = self._chains.get(directory)
        if chain is None:
            return None
        took = {entry: _seconds(entry) for entry in chain}
        here = sum(seconds for entry, seconds in took.items() if entry in self._here)
        return Made(round(sum(took.values()), 1), round(here, 1))


def _seconds(entry: Path) -> float:
    return float(json.loads((entry / SEAL).read_text(encoding="utf-8"))["seconds"])
