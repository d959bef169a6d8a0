"""What changed since the accepted baseline, in words that a person acts on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.history.baseline import Baseline
from results.history.comparable import of_models
from results.report.safe import number as finite
from results.store.quality import SCORE, metric_of, quality_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.tally import latest
from results.store.text import shown


@dataclass(frozen=True)
class Kind:
    """One outcome of a comparison: what it is called, what it means, and what to do."""

    heading: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "regression": Kind(
        "regressed",
        "Worse than what was accepted on this machine; a speed was measured again and was slower again. Look at what "
        "changed in the code or the libraries. If it is meant, accept it: pressbench accept {run} CASE",
    ),
    "vanished": Kind(
        "accepted, but not in this run",
        "Of models of this run: gone, or not selected this time. If a case was removed on purpose, take it out of the "
        "baseline's file.",
    ),
    "suspect": Kind("slower, not settled", "Not measured again often enough to say what it is. Run these again."),
    "inconclusive": Kind(
        "slower, and the machine's noise covers it",
        "Measured again, and neither slower beyond what runs differ by nor ruled out. More accepted runs or a quieter "
        "machine decide it; each line says how far off that is.",
    ),
    "not comparable": Kind(
        "measured on something else",
        "Other data, another model of the same name, or another metric than was accepted: no verdict. If it is meant, "
        "accept it: pressbench accept {run} CASE",
    ),
    "environment": Kind(
        "the machine changed",
        "The dense model's own time moved too, so the method is not to blame. Qualify the machine: pressbench qualify",
    ),
    "improved": Kind(
        "improved",
        "Better than what was accepted. Accept it, so that losing it again is noticed: pressbench accept {run} CASE",
    ),
    "new": Kind("new", "Nothing was accepted for these yet: pressbench accept {run}"),
    "noise": Kind(
        "slower once, not again",
        "Measured again, and all together rule out a slow-down that the machine would show: nothing to do.",
    ),
}
"""Outcome -> what it means, the most urgent first. `unchanged` is only counted."""
LISTED = 20
"""Changes of one kind that are told one by one before the rest is only counted."""


@dataclass(frozen=True)
class Change:
    """One case that changed. numbers: `4.32× → 3.60× (−17 %)`, empty where there are none."""

    case: str
    measure: str
    numbers: str
    reason: str


@dataclass(frozen=True)
class Group:
    """The changes of one kind."""

    outcome: str
    heading: str
    advice: str
    changes: Sequence[Change]
    more: int


@dataclass(frozen=True)
class Changes:
    """note: one line where nothing could be compared. unchanged: how many results stayed as they were."""

    groups: Sequence[Group]
    unchanged: int
    note: str

    def count(self, outcome: str) -> int:
        """How many there are of one kind."""
        return sum(len(group.changes) + group.more for group in self.groups if group.outcome == outcome)


def changes(run: Run, baseline: Baseline | None) -> Changes:
    """What the run's records say of their comparison, and what the baseline has beside them."""
    records = latest(run.cases)
    found: dict[str, list[Change]] = {outcome: [] for outcome in KINDS}
    unchanged = 0
    for record in records:
        outcome = record.comparison.get("outcome")
        if outcome == "unchanged":
            unchanged += 1
        elif isinstance(outcome, str) and outcome in found:
            found[outcome].append(_change(record))
    keys = {(record.measure, record.case) for record in records}
    models = {(record.model, record.hardware) for record in records}
    for measure, case in sorted(of_models(baseline.cases, models) - keys) if baseline else []:
        found["vanished"].append(Change(case, measure, "", ""))
    who = shlex.quote(shown(run.header.run))
    groups = [
        Group(outcome, KINDS[outcome].heading, KINDS[outcome].advice.format(run=who), some[:LISTED], len(some[LISTED:]))
        for outcome, some in found.items()
        if some
    ]
    note = ""
    if not baseline and not any(found[outcome] for outcome in KINDS if outcome != "new") and not unchanged:
        note = (
            "Not compared: nothing is accepted for this machine. To make this run its baseline: "
            f"pressbench accept {who}"
        )
        groups = []
    return Changes(groups, unchanged, note)


def _change(record: CaseRecord) -> Change:
    before, now = (finite(record.comparison.get(key)) for key in ("before", "now"))
    text = ""
    if before is not None and now is not None:
        told = quality_of(record)
        name = told.value if record.measure == "accuracy" else record.measure
        text = f"{value(name, before)} → {value(name, now)}"
        if record.measure == "accuracy" and told is SCORE:
            text = f"{metric_of(record)} {text}"
        if not (record.measure == "accuracy" and told.points) and before > 0:
            text += f" ({now / before - 1:+.1%})".replace("-", "−").replace("%", " %")
    return Change(record.case, record.measure, text, str(record.comparison.get("reason") or ""))


def value(measure: str, number: float) -> str:
    """The number that stands for a measure: `97.1 %`, `41.2`, `4.32×`, `0.258×`."""
    if measure == "score":
        return f"{100 * number:.1f}"
    if measure == "perplexity":
        return f"{number:.2f} ppl"
    if measure == "accuracy":
        return f"{number:.1%}".replace("%", " %")
    return f"{number:.2f}×" if measure == "speed" else f"{number:.3f}×"
