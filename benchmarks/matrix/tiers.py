"""How much is measured: the quick tier, and two with more variants and workloads."""

from __future__ import annotations

from compressors.interface import PressbenchError
from compressors.registry import nearest

TIERS = ("quick", "nightly", "full")


def check_tier(tier: str) -> None:
    """Raise PressbenchError for a tier that there is none of, with the nearest name or all of them."""
    if tier not in TIERS:
        raise PressbenchError(f"unknown tier {tier!r}{nearest(tier, TIERS)}")
