"""A speed beside what was accepted and the last runs: slower than runs differ, and what its reruns say of that.

The anchor and the last runs each have their test, which knows how far runs differ from one another. What is suspect, or
slower than runs differ by while a short history cannot show it, is measured again later, in fresh processes, and what
it is, all of them say together: a regression, noise where they rule out that it is slower, unchanged where only the
first stood out, and else it stays inconclusive.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from benchmarks import verdicts
from benchmarks.regression.outcome import (
    ENVIRONMENT,
    FLOORS,
    IMPROVED,
    INCONCLUSIVE,
    NEW,
    NOISE,
    REGRESSION,
    SUSPECT,
    UNCHANGED,
    Comparison,
    value_of,
)
from benchmarks.verdicts import Change, Recurrence
from results.history.baseline import Accepted
from results.history.comparable import usable
from results.store.record import CaseRecord, Measure

ENOUGH = 0.10
"""The slow-down that a baseline should be able to show."""
NOT_SHOWN = "slower but not shown"
_Z98 = 2.326  # a speed record's interval has 1 % on each side


def compare_speed(
    record: CaseRecord, anchor: Accepted | None, earlier: Sequence[CaseRecord], tau: float, reruns: Sequence[CaseRecord]
) -> Comparison:
    """A speed beside the accepted one and the last runs, see `benchmarks.regression.comparison.compare`."""
    now, before = value_of(record, "speedup"), anchor.value("speedup") if anchor else None
    if not now or (not before and not earlier):
        return Comparison(NEW, "no accepted result", now=now)
    against = anchor.run if anchor else None
    opinions = _opinions([record], anchor, earlier, tau)
    first = _worse(opinions)
    seen = [least for one in opinions if (least := verdicts.detectable(one, FLOORS["speed"])) is not None]
    plain = Comparison(
        UNCHANGED, first.reason, against, before, now, first.p_value, detectable=min(seen, default=None)
    )  # fmt: skip
    if first.outcome is Change.TOO_SHORT:
        return dataclasses.replace(plain, outcome=NEW)
    doubtful = first.outcome is Change.DOUBTFUL
    if first.outcome is not Change.SUSPECT and not doubtful:
        return dataclasses.replace(plain, outcome=IMPROVED if first.outcome is Change.IMPROVED else UNCHANGED)
    plain = dataclasses.replace(plain, doubtful=doubtful)
    times = [t for old in earlier if (t := _dense_seconds(old)) is not None]
    mine = _dense_seconds(record)
    if not doubtful and mine is not None and (moved := verdicts.environment_changed(times, mine)).changed:
        return dataclasses.replace(plain, outcome=ENVIRONMENT, reason=f"{moved.reason}; {first.reason}")
    if not reruns:
        return dataclasses.replace(plain, outcome=SUSPECT)
    counted = [rerun for rerun in reruns if usable(rerun) and value_of(rerun, "speedup")]
    alone = [_worse(_opinions([rerun], anchor, earlier, tau)) for rerun in counted]
    together = _opinions(counted, anchor, earlier, tau) if counted else []
    result = verdicts.confirmed(first, alone, together, tau, floor=FLOORS["speed"])
    outcome = _OF_RERUNS[result.outcome]
    reason = f"{first.reason}; {result.reason}"
    if outcome == INCONCLUSIVE:
        reason += f"; {_what_would_decide(first)}"
    if outcome == SUSPECT and (void := [rerun for rerun in reruns if rerun not in counted]):
        reason += f"; {len(void)} of {len(reruns)} reruns do not count: {void[-1].reason}"
    values = tuple(value_of(rerun, "speedup") or 0.0 for rerun in counted)
    return dataclasses.replace(plain, outcome=outcome, reason=reason, reruns=values)


_OF_RERUNS = {
    Recurrence.REGRESSION: REGRESSION,
    Recurrence.NOISE: NOISE,
    Recurrence.UNCHANGED: UNCHANGED,
    Recurrence.UNCONFIRMED: SUSPECT,
    Recurrence.INCONCLUSIVE: INCONCLUSIVE,
}


def _opinions(
    records: Sequence[CaseRecord], anchor: Accepted | None, earlier: Sequence[CaseRecord], tau: float
) -> list[verdicts.ChangeJudgement]:
    """Of the median of one to three fresh runs of a case: against the accepted results, where a creep shows, and
    against the last runs."""
    now = statistics.median(math.log(value_of(record, "speedup") or 1.0) for record in records)
    of, found = verdicts.WORTH[len(records)], []
    if anchor is not None and anchor.speeds():
        own = statistics.fmean(_deviation(record.measures["speedup"]) for record in records)
        found.append(_against_accepted(anchor, tau, now, own, of))
    past = [math.log(v) for old in earlier if (v := value_of(old, "speedup"))]
    if past or not found:
        # Where the machine was never qualified its deviation is not known, and is not nought.
        found.append(verdicts.judge_change(past, now, tau or None, floor=FLOORS["speed"], of=of))
    return found if len(found) == 1 else [one for one in found if one.outcome is not Change.TOO_SHORT]


def _against_accepted(
    anchor: Accepted, tau: float, now: float | None = None, own: float | None = None, of: float = 1
) -> verdicts.ChangeJudgement:
    """now, own: a new value and the deviation within its run; default: one that is as what was accepted."""
    logs = [math.log(value) for value in anchor.speeds()]
    mean, spread = statistics.fmean(logs), verdicts.shrunken(logs, tau)
    theirs = _deviation(Measure(low=anchor.value("speedup", "low"), high=anchor.value("speedup", "high")))
    return verdicts.judge_against_anchor(
        mean, math.hypot(spread, theirs) / math.sqrt(len(logs)), mean if now is None else now,
        math.hypot(spread, theirs if own is None else own), floor=FLOORS["speed"], of=of, accepted=len(logs),
    )  # fmt: skip


def _worse(opinions: Sequence[verdicts.ChangeJudgement]) -> verdicts.ChangeJudgement:
    order = (Change.SUSPECT, Change.DOUBTFUL, Change.IMPROVED, Change.UNCHANGED, Change.TOO_SHORT)
    return min(opinions, key=lambda judged: order.index(judged.outcome))


def _what_would_decide(first: verdicts.ChangeJudgement) -> str:
    """For a case that stayed slower, and that the machine's noise covers."""
    assert first.deviation is not None  # of what is suspect or doubtful
    needed = verdicts.runs_to_detect(ENOUGH, first.deviation)
    if needed is None:
        return f"a quieter machine would decide it: with runs that differ by {first.deviation:.2g} no history does"
    if needed <= first.runs:
        return "it is small beside what runs differ by here: the next ones are held against the same and will tell"
    return f"{needed - first.runs} more accepted runs, which show {ENOUGH:.0%}, or a quieter machine would decide it"


def detectable(accepted: Accepted, tau: float) -> tuple[float, int | None]:
    """Of an accepted speed: the smallest slow-down that a run can show against it, as a fraction, and how many more
    accepted runs would make that ENOUGH; None where none do."""
    judged = _against_accepted(accepted, tau)
    least, deviation = verdicts.detectable(judged, FLOORS["speed"]), judged.deviation
    assert least is not None and deviation is not None  # against an anchor it is never too short
    needed = verdicts.runs_to_detect(ENOUGH, deviation)
    return least, None if needed is None else max(0, needed - judged.runs)


def in_words(found: Comparison) -> str:
    """An outcome as a summary counts it: a speed that is much slower, by less than its baseline can show, is not called
    unchanged."""
    slower = found.now and found.before and found.detectable and found.now < (1 - ENOUGH) * found.before
    return NOT_SHOWN if slower and found.outcome == UNCHANGED else found.outcome


def _deviation(measure: Measure) -> float:
    """The standard deviation that belongs to a stored interval of ln speed-up; infinite for an open one."""
    if not measure.low or not measure.high:
        return 1e6
    return (math.log(measure.high) - math.log(measure.low)) / (2 * _Z98)


def _dense_seconds(record: CaseRecord) -> float | None:
    times = record.evidence.get("dense_seconds")
    return statistics.median(times) if times else None
