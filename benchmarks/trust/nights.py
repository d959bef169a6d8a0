"""Simulated nightly runs, drawn from recordings of unchanged code.

One night is one recording: its noise comes in blocks of consecutive pairs, so that drift and bursts within it stay,
and so does what shifts the whole of a process. Old and new change places by a coin: nothing changed, so either is fair.
Not here: the slow-downs, which multiply the new version's times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.trust.samples import Recording

BLOCK = 10
"""Consecutive pairs drawn together, about half a second."""


@dataclass(frozen=True)
class Night:
    """old, new: one interleaved run of tonight. stored: the old version, as another night's run has left it."""

    old: np.ndarray
    new: np.ndarray
    stored: np.ndarray
    pair_seconds: float  # by the clock


def simulate(unchanged: Sequence[Recording], *, nights: int, pairs: int, seed: int) -> Iterator[Night]:
    """Draw `nights` nights of `pairs` pairs. ValueError with fewer than two recordings."""
    if len(unchanged) < 2:
        raise ValueError("a night and the night before need two recordings")
    rng = np.random.default_rng(seed)
    sides = [np.array([r.old, r.new]) for r in unchanged]
    for _ in range(nights):
        tonight, before = rng.choice(len(sides), 2, replace=False)
        old, new = rng.permutation(_blocks(sides[tonight], pairs, rng))
        stored = rng.permutation(_blocks(sides[before], pairs, rng))[0]
        chosen = unchanged[tonight]
        yield Night(old, new, stored, chosen.seconds / len(chosen.old))


def _blocks(sides: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """(2, pairs) from blocks of consecutive pairs; the recording is taken as a ring, so that each is as likely."""
    length = sides.shape[1]
    starts = rng.integers(length, size=-(-pairs // BLOCK))
    index = (starts[:, None] + np.arange(BLOCK)).ravel()[:pairs] % length
    return sides[:, index]
