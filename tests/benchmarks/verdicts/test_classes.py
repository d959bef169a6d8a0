"""The worst of many classes by an interval that holds, and calibration by its definition."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdicts import calibration_error, calibration_rise, worst_class_drop
from benchmarks.verdicts.classes import BINS


def sample(draw: np.random.Generator, lost: dict[int, float], count: int = 600) -> tuple[np.ndarray, ...]:
    """Labels of six classes, a dense model that is right on nine of ten, and one that loses a share of a class."""
    truth = draw.integers(6, size=count)
    dense = np.where(draw.random(count) < 0.9, truth, (truth + 1) % 6)
    gone = draw.random(count) < np.vectorize(lambda number: lost.get(int(number), 0.0))(truth)
    return truth, dense, np.where(gone, (truth + 2) % 6, dense)


def test_a_class_that_was_lost_is_found_and_its_drop_lies_in_the_interval() -> None:
    draw = np.random.default_rng(0)
    held = found = 0
    for _ in range(200):
        judged = worst_class_drop(*sample(draw, {4: 0.4}), None)
        found += judged.worst == 4
        held += judged.low <= 0.9 * 0.4 <= judged.high
    assert found == 200 and held >= 180


def test_the_unluckiest_of_sound_classes_fails_in_at_most_one_case_of_twenty() -> None:
    """Every class loses just what it may: each has its own bad luck, and all of them together one verdict."""
    draw = np.random.default_rng(1)
    failed = sum(
        str(worst_class_drop(*sample(draw, dict.fromkeys(range(6), 0.1)), 0.09).verdict) == "fail" for _ in range(300)
    )
    assert failed / 300 <= 0.05


def test_a_bound_is_judged() -> None:
    draw = np.random.default_rng(2)
    truth, dense, compressed = sample(draw, {2: 0.5}, 3000)
    assert [str(worst_class_drop(truth, dense, compressed, b).verdict) for b in (0.1, 0.44, 0.8)] == [
        "fail",
        "inconclusive",
        "pass",
    ]


def test_calibration_error_is_that_of_its_definition() -> None:
    draw = np.random.default_rng(3)
    sure, right = draw.random(500), draw.random(500) < 0.6
    wanted = 0.0
    for low in range(BINS):
        here = [(s, r) for s, r in zip(sure, right, strict=True) if low / BINS < s <= (low + 1) / BINS]
        if here:
            wanted += len(here) / 500 * abs(sum(r for _, r in here) / len(here) - sum(s for s, _ in here) / len(here))
    assert calibration_error(sure, right) == pytest.approx(wanted, abs=1e-12)
    assert calibration_error([1.0, 1.0, 0.5, 0.5], [1, 1, 1, 0]) == 0


def test_a_model_that_became_too_sure_of_itself_is_seen() -> None:
    draw = np.random.default_rng(4)
    right = draw.random(1000) < 0.8
    calm = (np.full(1000, 0.8), right)
    sure = (np.full(1000, 0.97), right)
    judged = calibration_rise(calm, sure, 0.05)
    assert str(judged.verdict) == "fail" and judged.low <= 0.17 <= judged.high + 0.02
    assert str(calibration_rise(calm, calm, 0.05).verdict) == "pass"
    assert calibration_rise(calm, sure, None).verdict is None
