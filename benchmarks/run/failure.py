"""What a failing case says: its message, and the traceback of a method's own code after it."""

from __future__ import annotations

from benchmarks.measure.worker import PRINTED
from results.store.record import CaseRecord
from results.store.text import shown


def message(record: CaseRecord, again: str, declared: str = "") -> str:
    """Two lines: the case with its reason, and the command that shows it again. JUnit's attribute keeps whole lines
    up to 500 characters, so the numbers come first. declared: what a declaration of this failure says, or nothing."""
    told = shown(f"{record.measure} of {record.case}: {record.reason}")
    return f"{f'{declared}: {told}' if declared else told}\nto reproduce: {again}"


def own_traceback(record: CaseRecord) -> str:
    """The traceback that an error left, safe to show in a terminal; empty where there is none. What the process
    printed is left out: it stays in the record."""
    lines = str(record.evidence.get("detail") or "").splitlines()
    trace = lines[: lines.index(PRINTED)] if PRINTED in lines else lines
    return "\n".join(shown(line) for line in trace)
