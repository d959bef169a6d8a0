"""A result beside the accepted baseline and the history of its case: has it become worse?

Speed: see `benchmarks.regression.speed`. Accuracy: the very examples, paired. Size: exact. What was measured on other
data, or on another model of the same name, is not compared. A baseline never moves a target: those are judged
elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import verdicts
from benchmarks.regression.outcome import (
    ENVIRONMENT,
    FLOORS,
    IMPROVED,
    INCOMPARABLE,
    INCONCLUSIVE,
    NEW,
    NOISE,
    REGRESSION,
    SUSPECT,
    UNCHANGED,
    Comparison,
    value_of,
)
from benchmarks.regression.speed import compare_speed
from benchmarks.verdicts import Change, Verdict
from benchmarks.verdicts.regression import MOST_RERUNS
from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.baseline_file import load, read_all
from results.history.by_example import LOSSES, correct, losses
from results.history.comparable import measured_on, moved_between, usable
from results.history.history import History, read_history
from results.store.machine import differences, fingerprint_of
from results.store.quality import PERPLEXITY, metric_of, quality_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.tally import latest


@dataclass(frozen=True)
class Reference:
    """What a run is compared with. note: one line where there is nothing to compare with."""

    baseline: Baseline | None
    history: History
    note: str | None = None

    def vanished(self, cases: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Accepted (measure, case) that are not among `cases`."""
        return sorted(set(self.baseline.cases) - cases) if self.baseline else []

    def appeared(self, cases: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of `cases` that nothing was accepted for."""
        return sorted(cases - set(self.baseline.cases)) if self.baseline else []


def reference(baselines: Path, results: Path, fingerprint: Mapping[str, Any], run: str) -> Reference:
    """The baseline and the history of a fingerprint {"hash", "key"}; another machine's are never used, and
    the note says in which fields the nearest one differs."""
    known = load(baselines, str(fingerprint["hash"]))
    history = read_history(results, str(fingerprint["hash"]), but={run})
    note = None
    if known is None:
        others = [differences(fingerprint.get("key", {}), other.machine) for other in read_all(baselines)]
        nearest = min(others, key=len, default=None)
        note = "no accepted baseline for this machine"
        if nearest is not None:
            more = f" and {len(nearest) - 4} more" if len(nearest) > 4 else ""
            note += f"; the nearest differs in {'; '.join(nearest[:4])}{more}"
    return Reference(known, history, note)


def compare(record: CaseRecord, known: Reference, tau: float, reruns: Sequence[CaseRecord] = ()) -> Comparison | None:
    """What became of a case; None for a record that holds no result to compare.

    tau: the machine's own deviation of ln speed-up. reruns: the same case measured again in fresh processes;
    without enough of them a slower case is a suspect, never a regression.
    """
    if not usable(record):
        return None
    anchor = known.baseline.cases.get((record.measure, record.case)) if known.baseline else None
    if anchor is not None and (moved := moved_between(anchor.measured_on, measured_on(record))):
        reason = f"{moved} since {anchor.run}, which was accepted: accept it anew"
        return Comparison(INCOMPARABLE, reason, against=anchor.run)
    earlier = known.history.of(record.measure, record.case, anchor.since if anchor else "")
    earlier = [one for one in earlier if not moved_between(measured_on(one), measured_on(record))]
    return _BY_MEASURE[record.measure](record, anchor, earlier, tau, reruns)


def undecided(found: Comparison | None, reruns: Sequence[CaseRecord]) -> bool:
    """Whether a suspect is to be measured once more."""
    return found is not None and found.outcome == SUSPECT and len(reruns) < MOST_RERUNS


def _accuracy(
    record: CaseRecord, anchor: Accepted | None, earlier: Sequence[CaseRecord], tau: float, reruns: Sequence[CaseRecord]
) -> Comparison:
    if quality_of(record) is PERPLEXITY:
        return _perplexity(record, anchor)
    mine = losses(record)
    if mine is not None:
        return _scores(record, anchor, mine)
    now = value_of(record, "accuracy")
    before, right = (anchor.correct() if anchor else None), correct(record)
    if anchor is None or before is None or right is None:
        return Comparison(NEW, "no accepted result", now=now)
    if len(before) != len(right):
        reason = f"the accepted result is on {len(before)} examples, this one on {len(right)}: accept it anew"
        return Comparison(NEW, reason, against=anchor.run, now=now)
    judged = verdicts.accuracy_drop(before, right, FLOORS["accuracy"])
    reason = f"against the accepted result on the same examples: {judged.reason}"
    return Comparison(_lost(judged), reason, anchor.run, anchor.value("accuracy"), now)


def _perplexity(record: CaseRecord, anchor: Accepted | None) -> Comparison:
    now, mine = value_of(record, "perplexity"), losses(record)
    if anchor is None or anchor.losses is None or mine is None:
        return Comparison(NEW, "no accepted result", now=now)
    if anchor.losses["tokens"] != mine["tokens"]:
        reason = "the accepted result is on other documents than this one: accept it anew"
        return Comparison(NEW, reason, against=anchor.run, now=now)
    judged = verdicts.perplexity_rise(anchor.losses["nll"], mine["nll"], mine["tokens"], FLOORS["perplexity"])
    reason = f"against the accepted result on the same documents: {judged.reason}"
    return Comparison(_lost(judged), reason, anchor.run, anchor.value("perplexity"), now)


def _scores(record: CaseRecord, anchor: Accepted | None, mine: Mapping[str, tuple[float, ...]]) -> Comparison:
    """By example, where none is right or wrong: how many of its words are right, or how close its text comes."""
    told = quality_of(record)
    now, before = value_of(record, told.value), anchor.losses if anchor else None
    if anchor is None or before is None or set(before) != set(mine):
        return Comparison(NEW, "no accepted result", now=now)
    value, size = next(names for names in LOSSES if set(names) == set(mine))
    if before[size] != mine[size]:
        reason = "the accepted result is on other examples than this one: accept it anew"
        return Comparison(NEW, reason, against=anchor.run, now=now)
    if (too_few := verdicts.resolves_score(len(mine[size]))) is not None:
        return Comparison(UNCHANGED, too_few, anchor.run, anchor.value(told.value), now)
    if value == "right":
        words = np.array(mine[size])
        old, new, floor = np.array(before[value]) / words, np.array(mine[value]) / words, FLOORS["accuracy"]
        judged = verdicts.score_drop(old, new, floor, weights=words, name="accuracy")
    else:
        judged = verdicts.score_drop(before[value], mine[value], FLOORS["score"], name=metric_of(record))
    reason = f"against the accepted result on the same examples: {judged.reason}"
    return Comparison(_lost(judged), reason, anchor.run, anchor.value(told.value), now)


def _lost(judged: verdicts.Judgement) -> str:
    """What became of a loss, paired with the accepted result."""
    if judged.verdict is Verdict.FAIL:
        return REGRESSION
    return IMPROVED if judged.high < 0 else UNCHANGED


def _footprint(
    record: CaseRecord, anchor: Accepted | None, earlier: Sequence[CaseRecord], tau: float, reruns: Sequence[CaseRecord]
) -> Comparison:
    now, before = value_of(record, "size_ratio"), anchor.value("size_ratio") if anchor else None
    if anchor is None or not before or not now:
        return Comparison(NEW, "no accepted result", now=now)
    judged = verdicts.judge_against_anchor(
        math.log(before), 0.0, math.log(now), 0.0, floor=FLOORS["footprint"], higher_is_better=False
    )
    outcome = {Change.SUSPECT: REGRESSION, Change.IMPROVED: IMPROVED}.get(judged.outcome, UNCHANGED)
    reason = f"size {now:.4g} of the dense file, accepted {before:.4g}: {math.expm1(math.log(now / before)):+.2%}"
    return Comparison(outcome, reason, anchor.run, before, now)


_BY_MEASURE = {"accuracy": _accuracy, "footprint": _footprint, "speed": compare_speed}


@dataclass(frozen=True)
class Report:
    """A stored run beside a reference: (record, comparison) a case, what vanished and appeared, and which
    slower cases stay suspect once it is allowed for how many were looked at."""

    compared: list[tuple[CaseRecord, Comparison]]
    vanished: list[tuple[str, str]] = field(default_factory=list)
    appeared: list[tuple[str, str]] = field(default_factory=list)
    suspects: tuple[str, ...] = ()

    @property
    def regressions(self) -> list[tuple[CaseRecord, Comparison]]:
        """What a nightly run fails for."""
        return [(r, c) for r, c in self.compared if c.outcome == REGRESSION]


def taus(*runs: Run) -> dict[str, float]:
    """Hardware -> the machine's own deviation of ln speed-up, the largest that a record of any of `runs` was judged
    with: a run may begin before its machine is qualified."""
    found: dict[str, float] = {}
    for record in (record for run in runs for record in latest(run.cases)):
        if (tau := record.evidence.get("tau")) is not None:
            found[record.hardware] = max(float(tau), found.get(record.hardware, 0.0))
    return found


def _qualified(runs: Sequence[Run], hardware: str) -> str:
    """Whether all speeds on it were timed while the machine was qualified, in words."""
    told = {
        bool(record.evidence.get("qualified"))
        for run in runs
        for record in latest(run.cases)
        if record.hardware == hardware and record.evidence.get("tau") is not None
    }
    return "qualified" if told == {True} else "not qualified" if told == {False} else "not qualified throughout"


def tau_lines(*runs: Run) -> list[str]:
    """For each device, which allowance for shifts of the whole machine speed is judged with, and whose it is."""
    each = [(run.header.run, taus(run)) for run in runs]
    lines = []
    for device, tau in taus(*runs).items():
        whose = " and ".join(f"{f'{of[device]:.3g}' if device in of else 'none'} in {run}" for run, of in each)
        lines.append(
            f"speed on {device} judged with τ = {tau:.3g} ({'the larger of ' if len(each) > 1 else ''}{whose}), "
            f"machine {_qualified(runs, device)}"
        )
    return lines or ["speed judged without an allowance for shifts of the whole machine: no record has a τ"]


def compare_run(run: Run, known: Reference, tau: Mapping[str, float]) -> Report:
    """All cases of a stored run, from the records alone. A slower speed-up cannot be measured again here: it is
    a regression if the run confirmed it, or if it stays after control of false discoveries (5 %, any dependence).
    tau: as `taus` gives it; 0 for hardware that it does not have."""
    records = latest(run.cases)
    compared = [(r, c) for r in records if (c := compare(r, known, tau.get(r.hardware, 0.0))) is not None]
    p_values = {f"{r.measure} {r.case}": c.p_value for r, c in compared if c.p_value is not None}
    stay = verdicts.control_false_discoveries(p_values)
    final = []
    for record, found in compared:
        stored = record.comparison.get("outcome")
        again = bool(record.comparison.get("reruns"))
        settled = stored in (REGRESSION, NOISE, ENVIRONMENT, INCONCLUSIVE) or (stored == UNCHANGED and again)
        # What its reruns said, they said beside what the run itself was compared with.
        if found.outcome == SUSPECT and settled and record.comparison.get("against") == found.against:
            found = dataclasses.replace(found, outcome=str(stored), reason=str(record.comparison.get("reason", "")))
        elif found.outcome == SUSPECT and not found.doubtful and f"{record.measure} {record.case}" in stay:
            found = dataclasses.replace(found, outcome=REGRESSION, reason=f"{found.reason}; stays among all cases")
        final.append((record, found))
    keys = {(r.measure, r.case) for r in records}
    judged = {(r.measure, r.case) for r in records if usable(r)}
    return Report(final, known.vanished(keys), known.appeared(judged), stay)


def as_baseline(run: Run) -> Baseline:
    """A stored run in the place of an accepted baseline."""
    fingerprint, machine = fingerprint_of(run)
    cases = {(r.measure, r.case): accepted_of(r) for r in latest(run.cases) if usable(r)}
    return Baseline(fingerprint, machine, cases)
