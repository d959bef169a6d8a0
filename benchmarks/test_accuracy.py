"""Accuracy: what a compressor costs on the task, against the margin it may cost."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.matrix.cases import Case
from results.store.record import CaseRecord


@pytest.mark.accuracy
def test_accuracy(case: Case, bench: Any, settle: Callable[[CaseRecord], None]) -> None:
    settle(bench.beside_history(bench.session.accuracy(case)))
