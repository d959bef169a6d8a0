"""How a slow-down against accepted runs ends: found, not settled, or called noise; by its size, how many runs were
accepted, and how far runs of the machine differ from one another.

The comparison is the suite's own, on records whose speed-ups are drawn. What one run differs by is either normal with
the machine's deviation, or drawn from the ratios of real recordings of unchanged code, stretched to it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.regression.comparison import Reference, compare, undecided
from benchmarks.trust.samples import Recording
from results.history.baseline import Accepted, Baseline, accepted_of, grown
from results.history.history import History
from results.store.record import CaseRecord, Measure

SLOW_DOWNS = (0.0, 0.05, 0.10, 0.20, 0.50)
ACCEPTED = (1, 3, 10)
TAUS = (0.02, 0.05, 0.11)
WIDTH = 0.02
"""Of ln speed-up, each way: the interval of a single run."""
SPEED_UP = 2.0
CASE = "method-model-cpu"

Noise = Callable[[np.random.Generator, int], np.ndarray]
"""How far runs lie from their mean, in units of the machine's deviation."""


@dataclass(frozen=True)
class Setting:
    """slow_down: as a fraction, 0.5 being twice as slow. accepted: runs. tau: the machine's deviation."""

    slow_down: float
    accepted: int
    tau: float


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    """Independent and normal, the noise that the rule was made for."""
    return rng.standard_normal(count)


def replayed(recordings: Sequence[Recording]) -> Noise:
    """Whole runs as they were: the ratio of two sides that did the same, of one recording after the other, which way
    round by a coin. ValueError for fewer than three recordings."""
    if len(recordings) < 3:
        raise ValueError("replayed noise needs three recordings of unchanged code")
    found = np.array([np.median(np.log(np.array(one.old) / np.array(one.new))) for one in recordings])
    deviation = math.sqrt(float(np.mean(found**2)))

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        drawn: np.ndarray = rng.choice(found, count) * rng.choice((-1.0, 1.0), count) / deviation
        return drawn

    return draw


def outcomes(setting: Setting, *, nights: int, seed: int, noise: Noise = normal) -> Counter[str]:
    """What the comparison says of so many nights, each with accepted runs of its own: outcome -> nights."""
    rng = np.random.default_rng([seed, round(1000 * setting.slow_down), setting.accepted, round(1000 * setting.tau)])
    found: Counter[str] = Counter()
    for _ in range(nights):
        ys = setting.tau * noise(rng, setting.accepted + 4)
        accepted = _accepted(ys[: setting.accepted])
        known = Reference(Baseline("ab", {}, {("speed", CASE): accepted}), History({}, ()))
        later = ys[setting.accepted :] + math.log1p(-setting.slow_down)
        record, reruns = _record(later[0], "now"), [_record(y, "now") for y in later[1:]]
        told, taken = compare(record, known, setting.tau), 0
        while undecided(told, reruns[:taken]):
            taken += 1
            told = compare(record, known, setting.tau, reruns[:taken])
        found[told.outcome if told else "nothing"] += 1
    return found


def _accepted(ys: Iterable[float]) -> Accepted:
    first, *others = (accepted_of(_record(y, f"run-{number:02}")) for number, y in enumerate(ys))
    for one in others:
        first = grown(first, one)
    return first


def _record(y: float, run: str) -> CaseRecord:
    value = SPEED_UP * math.exp(y)
    measure = Measure(value=value, low=value * math.exp(-WIDTH), high=value * math.exp(WIDTH))
    return CaseRecord(
        run=run, case=CASE, measure="speed", compressor="method", model="model", hardware="cpu", verdict="measured",
        measures={"speedup": measure},
    )  # fmt: skip
