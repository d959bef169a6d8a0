"""The exit codes of a run beside pytest's own 0 to 5. A failure, 1, goes before all but NOT_STORED."""

from __future__ import annotations

from results.store.record import RunEnd

TOO_FEW = 10
"""Fewer cases were executed than --require."""
UNRESOLVED = 13
"""With --fail-unresolved, a case is slower than what was accepted, and neither a regression nor ruled out."""
UNDECIDED = 11
"""With pytest's --strict, a verdict was inconclusive or unqualified."""
NOT_STORED = 74
"""The run ended because the disk took no more results: EX_IOERR of sysexits.h."""


def exit_code(end: RunEnd, required: int, strict: bool, unresolved: int = 0) -> int:
    """That of a run without a failure; 0 where nothing is amiss. unresolved: how many cases count as such."""
    if end.executed < required:
        return TOO_FEW
    if unresolved:
        return UNRESOLVED
    undecided = end.counts.get("inconclusive", 0) + end.counts.get("unqualified", 0)
    return UNDECIDED if strict and undecided else 0
