"""The running evidence of the speed test, recomputed from a record's samples to be looked at.

Verdicts are not made here: they are in the records. docs/statistics.md, "Speed", has the formulas; the tests hold
these numbers against those that the test itself went by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import special

BLOCKS = (1, 4)
"""Pairs in a block, for each of the sign tests whose mean is the evidence."""


@dataclass(frozen=True)
class Trace:
    """ln E after each pair: of "above the upper cut" and of "below the lower cut". lower, upper: the cuts, as ratios;
    they differ by what the machine's own noise leaves undecided."""

    above: list[float]
    below: list[float]
    lower: float
    upper: float


def trace(dense: Sequence[float], compressed: Sequence[float], target: float, alpha: float, tau: float) -> Trace:
    """The evidence after each pair. Seconds above zero, as many of each; target: a ratio; tau: of ln speed-up.

    ValueError where target, alpha or tau is out of range.
    """
    if not (0 < target < 1e6 and 0 < alpha < 0.5 and 0 <= tau < 10):
        raise ValueError("no such test")
    guard = float(special.ndtri(1 - alpha)) * tau
    cut, floor = math.log(target) + guard, math.log(target) - guard
    ratios = {size: block_ratios(dense, compressed, size) for size in BLOCKS}
    above = {size: _running(r > cut for r in ratios[size]) for size in BLOCKS}
    below = {size: _running(r < floor for r in ratios[size]) for size in BLOCKS}
    pairs = range(1, len(dense) + 1)
    return Trace(
        above=[_mean_log_e(above, n) for n in pairs],
        below=[_mean_log_e(below, n) for n in pairs],
        lower=math.exp(floor),
        upper=math.exp(cut),
    )


def block_ratios(dense: Sequence[float], compressed: Sequence[float], size: int) -> list[float]:
    """ln(fastest dense slot / fastest compressed slot) of each whole block of `size` pairs."""
    starts = range(0, len(dense) - size + 1, size)
    return [math.log(min(dense[i : i + size]) / min(compressed[i : i + size])) for i in starts]


def log_e_value(wins: int, pairs: int) -> float:
    """ln E of a sign test with a uniform mixture of win probabilities from 1/2 to 1; -inf where E underflows."""
    tail = float(special.betaincc(wins + 1, pairs - wins + 1, 0.5))
    if tail <= 0:
        return -math.inf
    return float((pairs + 1) * math.log(2) + special.betaln(wins + 1, pairs - wins + 1) + math.log(tail))


def _running(wins: Iterable[bool]) -> list[int]:
    found = [0]
    for win in wins:
        found.append(found[-1] + int(win))
    return found


def _mean_log_e(wins: dict[int, list[int]], pairs: int) -> float:
    """Blocks speak only when they are whole; until then their share counts as nothing."""
    parts = [log_e_value(wins[size][pairs // size], pairs // size) for size in BLOCKS if pairs % size == 0]
    most = max(parts)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(part - most) for part in parts) / len(BLOCKS))
