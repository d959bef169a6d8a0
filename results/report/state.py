"""The headline: how the run came out, in one line, green only where something was judged and nothing is open."""

from __future__ import annotations

from dataclasses import dataclass

from results.report.changes import Changes
from results.table.rows import Summary

OPEN = ("inconclusive", "unqualified")
"""Verdicts that leave open whether a case reaches its target."""
SETTLED_NOT = ("suspect", "inconclusive")
"""Outcomes of a comparison with the baseline that leave open whether something regressed."""
HOW_TO_JUDGE = (
    "A target makes a verdict of a number: --within 1pt bounds what each case of a run may lose; a file for --targets, "
    "or targets in zoo.toml, say what each must reach."
)


@dataclass(frozen=True)
class State:
    """kind: the style of the line. hint: what to do about it; empty where there is nothing to."""

    kind: str
    line: str
    hint: str = ""


def state(what: Summary, changed: Changes) -> State:
    """The headline of a run."""
    counts = what.counts
    if wrong := _wrong(what, changed):
        return State("fail", wrong)
    if what.interrupted:
        of = f" of {what.expected}" if what.expected else ""
        return State("fail", f"The run was interrupted: {what.executed}{of} results are here")
    if what.executed < what.expected:
        left = what.expected - what.executed
        return State("inconclusive", f"{left} of {what.expected} cases were not executed")
    passed, measured = counts.get("pass", 0), counts.get("measured", 0)
    undecided = ", ".join(f"{counts[word]} {word}" for word in OPEN if counts.get(word))
    hint = HOW_TO_JUDGE if measured and not passed else ""
    if not what.executed:
        return State("inconclusive", "No case was recorded")
    if not passed:
        parts = [f"{measured} measured without a target" if measured else "", undecided]
        parts += [f"{counts['unsupported']} unsupported" if counts.get("unsupported") else ""]
        return State("neutral", f"Nothing was judged: {', '.join(filter(None, parts))}", hint)
    unsettled = sum(changed.count(outcome) for outcome in SETTLED_NOT)
    if undecided or unsettled:
        parts = [undecided, f"{unsettled} slower than accepted and not settled" if unsettled else ""]
        return State("inconclusive", f"Nothing failed, and not all is decided: {', '.join(filter(None, parts))}")
    judged = f"All {passed} that were judged passed" if passed > 1 else "The one that was judged passed"
    return State("pass", judged if changed.note else f"{judged}, nothing regressed")


def _wrong(what: Summary, changed: Changes) -> str:
    failed, errors = what.counts.get("fail", 0), what.counts.get("error", 0)
    regressed = changed.count("regression")
    parts = [
        f"{failed} failed" if failed else "",
        f"{errors} error{'s' * (errors > 1)}" if errors else "",
        f"{regressed} regressed" if regressed else "",
    ]
    said = ", ".join(filter(None, parts))
    if said and what.interrupted:
        of = f" of {what.expected}" if what.expected else ""
        said += f"; the run was interrupted, {what.executed}{of} results are here"
    return said
