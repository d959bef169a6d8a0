"""A failing case is told by its message, and the traceback of a method's own code."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.run import failure
from results.store.record import CaseRecord


def failed(reason: str = "drop 3 points", **evidence: Any) -> CaseRecord:
    return CaseRecord(
        run="r",
        case="int8-m-cpu",
        measure="accuracy",
        compressor="int8",
        model="m",
        task="t",
        hardware="cpu",
        hardware_class="cpu-generic",
        verdict="error",
        reason=reason,
        evidence=evidence,
        ended="2026-11-22T00:00:00+00:00",
    )


def test_the_numbers_come_before_the_command() -> None:
    told = "accuracy of int8-m-cpu: drop 3 points\nto reproduce: pytest x"
    assert failure.message(failed(), "pytest x") == told
    assert (
        failure.message(failed(), "pytest x", "its declaration has expired") == f"its declaration has expired: {told}"
    )


def test_a_reason_moves_no_cursor_and_starts_no_line() -> None:
    told = failure.message(failed("\x1b[2Jno\nlayer"), "pytest x")
    assert told.splitlines() == [r"accuracy of int8-m-cpu: \x1b[2Jno layer", "to reproduce: pytest x"]


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("Traceback\n  File x\nValueError: y", "Traceback\n  File x\nValueError: y"),
        ("Traceback\nValueError: y\nprinted:\nGARBAGE\nprinted:\nmore", "Traceback\nValueError: y"),
        ("printed:\nTraceback of a thread", ""),
        ("Traceback\nValueError: \x1b[31mred", "Traceback\nValueError: \\x1b[31mred"),
    ],
)
def test_a_traceback_is_shown_without_what_was_printed(detail: str, shown: str) -> None:
    assert failure.own_traceback(failed(detail=detail)) == shown


def test_without_a_traceback_there_is_none() -> None:
    assert failure.own_traceback(failed()) == ""
