"""Footprint: bytes on disk, weights, memory; and whether the claimed effect can be seen in the file."""

import pytest


@pytest.mark.footprint
def test_footprint(case, bench, settle):
    settle(bench.session.footprint(case))
