"""A model that is no better than one answer is told from one that is, at the stated rate of errors."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdicts import above_chance, one_answer, surely_better


def test_a_model_that_is_no_better_passes_in_at_most_one_case_of_twenty() -> None:
    draw = np.random.default_rng(0)
    found = 0
    for _ in range(2000):
        truth = draw.random(200) < 0.6
        said = draw.random(200) < 0.6  # of its own, without looking
        found += surely_better(said == truth, truth)
    assert found / 2000 < 0.05
    even = sum(surely_better(draw.random(200) < 0.7, draw.random(200) < 0.7) for _ in range(2000))
    assert even / 2000 <= 0.06


def test_a_model_that_is_better_is_seen() -> None:
    draw = np.random.default_rng(1)
    found = sum(surely_better(draw.random(200) < 0.8, draw.random(200) < 0.6) for _ in range(300))
    assert found > 290
    assert surely_better([1] * 10, [1, 0] * 5), "all of ten right, where one answer has five"


def test_scores_need_not_be_right_or_wrong() -> None:
    assert surely_better([-3.0, -2.5, -3.1] * 10, [-7.0, -7.1, -6.9] * 10)
    assert not surely_better([-7.0] * 30, [-7.0] * 30)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        surely_better([1, 0], [1])
    with pytest.raises(ValueError, match="finite"):
        surely_better([np.nan], [1])


def test_chance_is_told_from_skill() -> None:
    assert above_chance(86, 100, 0.01) and not above_chance(2, 100, 0.01) and not above_chance(0, 100, 0.01)


def test_one_answer_is_seen_in_any_shape() -> None:
    assert one_answer([3, 3, 3]) and not one_answer([3, 3, 4]) and not one_answer([3])
    assert one_answer(np.tile([1, 2], (5, 1))) and not one_answer(np.array([[1, 2], [1, 3]]))
