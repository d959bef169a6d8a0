"""A run without a failure says by its exit code what is amiss all the same."""

from __future__ import annotations

import pytest

from benchmarks.run.exit_codes import TOO_FEW, UNDECIDED, UNRESOLVED, exit_code
from results.store.record import RunEnd


@pytest.mark.parametrize(
    ("counts", "required", "strict", "code"),
    [
        ({"pass": 3}, 3, True, 0),
        ({"pass": 3}, 4, False, TOO_FEW),
        ({"pass": 2, "inconclusive": 1}, 0, False, 0),
        ({"pass": 2, "inconclusive": 1}, 3, True, UNDECIDED),
        ({"pass": 2, "unqualified": 1}, 0, True, UNDECIDED),
        ({"pass": 2, "unsupported": 1}, 0, True, 0),
        ({"pass": 2, "inconclusive": 1}, 4, True, TOO_FEW),
    ],
)
def test_too_few_goes_before_undecided(counts: dict[str, int], required: int, strict: bool, code: int) -> None:
    end = RunEnd(run="r", ended="2026-11-22T00:00:00+00:00", expected=3, executed=3, counts=counts)
    assert exit_code(end, required, strict) == code


def test_a_slow_down_that_is_not_settled_fails_where_that_is_asked_for() -> None:
    end = RunEnd(run="r", ended="2026-11-22T00:00:00+00:00", expected=3, executed=3, counts={"inconclusive": 1})
    assert exit_code(end, 0, False, unresolved=1) == UNRESOLVED
    assert exit_code(end, 4, False, unresolved=1) == TOO_FEW
