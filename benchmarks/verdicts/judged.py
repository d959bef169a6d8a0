"""Judgements as records keep them."""

from __future__ import annotations

import math

from benchmarks.verdicts import Judgement
from results.store.record import Measure


def measure_of(judged: Judgement, bound: float | None) -> Measure:
    """A judgement as a stored measure. JSON has no infinity: an open end is stored as null."""
    low, high = (v if math.isfinite(v) else None for v in (judged.low, judged.high))
    if bound is None:
        return Measure(value=judged.value, low=low, high=high)
    return Measure(
        value=judged.value, low=low, high=high, bound=bound, verdict=str(judged.verdict), reason=judged.reason
    )
