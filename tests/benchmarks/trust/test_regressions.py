"""The power against slow-downs: found more often the larger it is and the more is known, and false alarms seldom."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.trust.regressions import FOUND, Setting, normal, outcomes, picture, replayed, table
from benchmarks.trust.samples import Recording

NIGHTS = 60


def found(slow_down: float, accepted: int, tau: float) -> float:
    return outcomes(Setting(slow_down, accepted, tau), nights=NIGHTS, seed=3)[FOUND] / NIGHTS


def test_a_large_slow_down_is_found_and_none_seldom() -> None:
    assert found(0.5, 3, 0.02) == 1.0
    assert found(0.0, 3, 0.02) <= 1 / NIGHTS
    assert found(0.10, 10, 0.02) > 0.8 > 0.5 > found(0.10, 1, 0.02)
    assert found(0.20, 3, 0.02) > found(0.20, 3, 0.11)


def recordings(deviation: float) -> list[Recording]:
    shifts = deviation * np.random.default_rng(0).standard_normal(12)
    usual = {"percent": 0, "calls": 20, "extra": 0, "round": 0, "started": 0.0, "seconds": 1.0, "orders": ["dcdcd"]}
    return [Recording(**usual, old=[0.1] * 5, new=[0.1 * math.exp(-shift)] * 5) for shift in shifts]


def test_replayed_noise_has_the_deviation_that_is_asked_for() -> None:
    rng = np.random.default_rng(1)
    for noise in (normal, replayed(recordings(0.04))):
        drawn = noise(rng, 20_000)
        assert (drawn.mean(), drawn.std()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
    with pytest.raises(ValueError, match="three recordings"):
        replayed(recordings(0.04)[:2])


def test_the_table_and_the_picture_have_every_setting() -> None:
    pytest.importorskip("vl_convert")
    counted = {s: outcomes(s, nights=2, seed=0) for s in (Setting(0.0, 1, 0.02), Setting(0.5, 1, 0.02))}
    assert table(counted).splitlines()[-1] == "| 2% | 1 | 0 · 0 · 0 | 100 · 0 · 0 |"
    assert picture(counted).startswith("<svg") and "τ = 2%" in picture(counted)
