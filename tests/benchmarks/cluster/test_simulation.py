"""How long a run would take on more nodes: against sums that can be made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cluster.simulation import simulate


def test_equal_cases_share_out_evenly() -> None:
    found = simulate([10.0] * 20, nodes=5, overhead=0.0)
    assert (found.seconds, found.efficiency) == (40.0, 1.0)


def test_one_long_case_at_the_end_leaves_the_others_idle() -> None:
    found = simulate([1.0, 1.0, 8.0], nodes=2, overhead=0.0)
    assert (found.seconds, found.efficiency) == (9.0, pytest.approx(10 / 18))


def test_what_hands_them_over_is_the_bound_where_there_are_many_nodes() -> None:
    assert simulate([0.0] * 100, nodes=100, overhead=0.5).seconds == pytest.approx(50.0)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.integers(1, 8), st.floats(0, 0.5))
def test_it_is_between_what_no_order_beats_and_one_node(cases: list[float], nodes: int, overhead: float) -> None:
    found = simulate(cases, nodes, overhead)
    assert found.seconds >= max(max(cases), sum(cases) / nodes) - 1e-9
    assert found.seconds <= sum(cases) + len(cases) * overhead + 1e-9
    assert 0 < found.efficiency <= 1 + 1e-9
