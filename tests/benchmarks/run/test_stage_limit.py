"""How long a stage may take: what is said, else by tier."""

from __future__ import annotations

import pytest

from benchmarks.run.run import _stage_seconds


@pytest.mark.parametrize(
    ("said", "tier", "seconds"),
    [(None, "quick", 900), (None, "nightly", 7200), (None, "full", 7200), (12.0, "nightly", 12), (0.0, "quick", 0)],
)
def test_what_is_said_counts_and_else_the_tier(said: float | None, tier: str, seconds: float) -> None:
    assert _stage_seconds({"--stage-limit": said, "--tier": tier}.__getitem__) == seconds
