"""Accuracy: what a compressor costs on the task, against the margin it may cost."""

import pytest


@pytest.mark.accuracy
def test_accuracy(case, bench, settle):
    settle(bench.session.accuracy(case))
