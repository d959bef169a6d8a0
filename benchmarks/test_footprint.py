"""Footprint: bytes on disk, weights, memory; and whether the claimed effect can be seen in the file."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.matrix.cases import Case
from results.store.record import CaseRecord


@pytest.mark.footprint
def test_footprint(case: Case, bench: Any, settle: Callable[[CaseRecord], None]) -> None:
    settle(bench.beside_history(bench.session.footprint(case)))
