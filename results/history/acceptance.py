"""Accepting a run: what of it takes the place of what was accepted, what is added to it, and what is refused.

A case that misses its target cannot be accepted.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.comparable import Key, usable
from results.store.machine import fingerprint_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.strict_json import Number, ResultsError
from results.store.tally import latest
from results.store.text import shown

MOST = 20
"""Accepted runs that a speed is the mean of, at most."""

ACCEPTABLE = ("pass", "measured", "inconclusive")


@dataclass(frozen=True)
class Acceptance:
    """One line of what accepting would change; before is None for a case that is new."""

    key: Key
    before: Accepted | None
    after: Accepted


def propose(
    run: Run,
    baseline: Baseline | None,
    cases: Sequence[str],
    *,
    when: str,
    reason: str,
    same: Callable[[CaseRecord], bool] = lambda record: False,
) -> tuple[Baseline, list[Acceptance], list[tuple[CaseRecord, str]]]:
    """(the new baseline, what changes, records refused and why) for accepting `run`.

    cases: names or patterns such as `int8-*`; all where empty. same: whether a speed is no other than what is accepted,
    so that it is one more run of it and does not take its place. Raises ResultsError where a pattern matches
    nothing, or where the run is of another machine than `baseline`.
    """
    fingerprint, machine = fingerprint_of(run)
    if not fingerprint:
        raise ResultsError(f"run {shown(run.header.run)} kept no fingerprint and cannot be accepted")
    old = baseline or Baseline(fingerprint, machine)
    if old.fingerprint != fingerprint:
        raise ResultsError("the run is of another machine than the baseline")
    records = latest(run.cases)
    for pattern in cases:
        if not any(fnmatch.fnmatchcase(record.case, pattern) for record in records):
            raise ResultsError(f"no case {shown(pattern)!r} in run {shown(run.header.run)}")
    changes, refused, new = [], [], dict(old.cases)
    for record in records:
        if cases and not any(fnmatch.fnmatchcase(record.case, pattern) for pattern in cases):
            continue
        if why := _refusal(record):
            refused.append((record, why))
            continue
        key = (record.measure, record.case)
        after, before = accepted_of(record, when, reason), old.cases.get(key)
        if before is not None and record.measure == "speed" and before.value("speedup") and same(record):
            after = replace(grown(before, after), accepted=when, reason=reason or before.reason)
        if before is None or replace(before, accepted="", reason="") != replace(after, accepted="", reason=""):
            changes.append(Acceptance(key, before, after))
            new[key] = after
    return Baseline(fingerprint, machine or old.machine, new), changes, refused


def _refusal(record: CaseRecord) -> str | None:
    regressed = record.comparison.get("outcome") == "regression"
    only_regressed = regressed and all(m.verdict in ACCEPTABLE for m in record.measures.values())
    if record.verdict not in ACCEPTABLE and not only_regressed:
        return f"{record.verdict}: {record.reason}"
    if not usable(record):
        return "measured under conditions that do not count"
    return None


def grown(before: Accepted, after: Accepted) -> Accepted:
    """A speed that was accepted, with one more run of the same: the mean of all is what later runs are compared with.
    After MOST no run is added, so that no creep moves it."""
    runs = before.more or ((before.run, float(before.value("speedup") or 1.0)),)
    speed = after.value("speedup")
    if speed is None or len(runs) >= MOST or after.run in {run for run, _ in runs}:
        return before
    more = tuple(sorted([*runs, (after.run, float(speed))]))  # by when they began, as their ids have it
    values = dict(after.values)
    for name in ("speedup", "speedup_vs_control"):
        was, new = before.values.get(name), after.values.get(name)
        if was and new:
            values[name] = {part: _mean(was.get(part), new.get(part), len(runs)) for part in ("value", "low", "high")}
    return replace(after, values=values, more=more)


def _mean(was: Number | None, new: Number | None, runs: int) -> Number | None:
    """Geometric, of `runs` values whose mean is `was` and one more."""
    return math.exp((runs * math.log(was) + math.log(new)) / (runs + 1)) if was and new else None
