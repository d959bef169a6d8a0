"""Planted sessions: recordings of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.trust.decisions import PERCENTS
from benchmarks.trust.samples import PAIRS, Recording, Session


def plant(*, noise: float = 0.03, shift: float = 0.0, rounds: int = 12, seed: int = 1) -> Session:
    rng = np.random.default_rng(seed)

    def side(percent: int) -> list[float]:
        times = 0.02 * np.exp(shift * rng.standard_normal() + noise * rng.standard_normal(PAIRS)) * (1 + percent / 100)
        return [float(t) for t in times]

    recordings = [
        Recording(
            percent=percent, calls=20, extra=20 * percent // 100, round=number, started=20.0 * number,
            seconds=2 * PAIRS * 0.021, old=side(0), new=side(percent), orders=["dc"] * PAIRS,
        )
        for number in range(rounds)
        for percent in (0, *PERCENTS)
    ]  # fmt: skip
    return Session(
        seed=0, date="2026-01-02", cpu="Planted CPU", cores=2, threads=1, system="Linux",
        versions={"Python": "3.11.0", "torch": "2.13.0"}, seconds=20.0 * rounds, recordings=recordings,
    )  # fmt: skip


@pytest.fixture(scope="session")
def planted() -> Callable[..., Session]:
    """Makes a session: `noise` is the deviation of ln seconds of a slot, `shift` that of a whole process."""
    return plant


@pytest.fixture(scope="session")
def session() -> Session:
    return plant(shift=0.05)
