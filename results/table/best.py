"""Which values of a column are best, as far as their intervals tell them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from results.store.quality import ACCURACY, PERPLEXITY, SCORE
from results.store.record import Measure
from results.table.columns import COLUMNS, Column
from results.table.rows import Row

MARKED = tuple(column.measure for column in COLUMNS if column.marked)
"""The recorded names of the measures whose best values are marked."""
_NOT_REACHED = ("fail", "error", "unqualified")


def best(section: Sequence[Row | None], column: Column) -> set[int]:
    """The places in `section` whose values are best; empty where it has fewer than two methods.

    The best value, and every other whose interval overlaps the best one's: they have not been told apart. A value
    without an interval is exact and ties with equal ones only; an open end reaches to infinity. Dense and controls
    are no rivals of methods, and a speed that failed or is not qualified was not reached. Speed is compared within
    one workload. section: rows of one model, task, device and machine; None where the machine has none.
    """
    methods = {place: row for place, row in enumerate(section) if row is not None and row.first.role == "method"}
    if not column.marked or len({row.key for row in methods.values()}) < 2:
        return set()
    rivals: dict[str | None, dict[int, Measure]] = {}
    for place, row in methods.items():
        measure = row.measure(column.measure)
        if measure.value is not None and not (column.judged == "speed" and row.verdict("speed") in _NOT_REACHED):
            rivals.setdefault(row.workload if column.of_workload else None, {})[place] = measure
    return {place for measures in rivals.values() for place in not_told_apart(measures, column.better)}


def best_measures(section: Sequence[Row]) -> list[frozenset[str]]:
    """For each row of `section` the recorded names of its measures that are best."""
    marks = {column.measure: best(section, column) for column in COLUMNS if column.marked}
    for other in (PERPLEXITY, SCORE):  # one place in a table for all of them
        marks[ACCURACY.value] |= marks[other.value]
        marks[ACCURACY.loss] |= marks[other.loss]
    return [frozenset(name for name, places in marks.items() if place in places) for place in range(len(section))]


def not_told_apart(measures: dict[int, Measure], better: str) -> set[int]:
    """The places of the best value and of those whose interval overlaps with that of the best."""
    pick = max if better == "higher" else min
    top = pick((m.value or 0 for m in measures.values()), default=0)
    ends = [end for m in measures.values() if m.value == top for end in _interval(m)]
    low, high = min(ends), max(ends)
    return {place for place, m in measures.items() if _interval(m)[0] <= high and low <= _interval(m)[1]}


def _interval(measure: Measure) -> tuple[float, float]:
    value = measure.value or 0
    if measure.low is None and measure.high is None:
        return value, value
    low = -math.inf if measure.low is None else measure.low
    high = math.inf if measure.high is None else measure.high
    return min(low, value), max(high, value)
