"""Records of one case and what is known of it, to compare with each other."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.regression.comparison import Reference
from benchmarks.regression.outcome import Comparison
from results.history.baseline import Baseline, accepted_of
from results.history.history import History
from results.store.record import CaseRecord, Measure

CASE = "int8-m-cpu"
TAU = 0.01


def speed(value: float, width: float = 0.02, dense: float = 0.1, **more: Any) -> CaseRecord:
    measure = Measure(value=value, low=value * math.exp(-width), high=value * math.exp(width))
    fields: dict[str, Any] = {
        "run": "r", "case": CASE, "measure": "speed", "compressor": "c", "model": "m", "hardware": "cpu",
        "verdict": "pass", "measures": {"speedup": measure}, "evidence": {"dense_seconds": [dense] * 3},
    }  # fmt: skip
    return CaseRecord(**(fields | more))


def known(anchor: CaseRecord | None = None, earlier: list[CaseRecord] | None = None) -> Reference:
    cases = {(anchor.measure, anchor.case): accepted_of(anchor)} if anchor else {}
    records = {("speed", CASE): earlier} if earlier else {}
    return Reference(Baseline("ab", {}, cases), History(records, ()))


def again(*values: float) -> list[CaseRecord]:
    return [speed(value) for value in values]


def outcome(found: Comparison | None) -> str:
    assert found is not None
    return found.outcome
