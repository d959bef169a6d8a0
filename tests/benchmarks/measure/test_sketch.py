"""A few numbers of an answer tell two answers apart, and are not fooled by size or by padding."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure.sketch import FEATURES, PLACES, differences, sketch, spread, whole


def test_few_classes_are_kept_whole_and_many_in_part() -> None:
    assert np.array_equal(sketch(np.arange(30.0).reshape(6, 5)), np.arange(30.0).reshape(6, 5))
    assert sketch(np.zeros((2, 50_000))).shape == (2, PLACES * FEATURES)


def test_padding_is_not_looked_at() -> None:
    outputs = np.random.default_rng(0).standard_normal((3, 20, 100))
    mask = (np.arange(20)[None] < np.array([20, 7, 1])[:, None]).astype(int)
    spoilt = np.where(mask[..., None], outputs, 1e9)
    assert np.array_equal(sketch(outputs, mask), sketch(spoilt, mask))
    left = mask[:, ::-1]
    assert np.abs(sketch(np.where(left[..., None], outputs, 1e9), left)).max() < 10


def test_a_difference_is_a_share_of_how_far_examples_lie_apart() -> None:
    draw = np.random.default_rng(1)
    answers = 50 + draw.standard_normal((200, 10)) * 4
    scale = spread(answers)
    assert abs(scale - 4) < 0.3
    assert abs(whole(differences(answers, answers + 0.4, scale)) - 0.1) < 0.01
    assert whole(differences(answers, answers[draw.permutation(200)], scale)) > 1
    assert whole(differences(answers * 9, 9 * (answers + 0.4), spread(answers * 9))) == pytest.approx(0.1, abs=0.01)


def test_what_cannot_be_compared_is_infinitely_far() -> None:
    one = np.ones((2, 3))
    assert np.isinf(differences(one, np.ones((2, 4)), 1.0)).all()
    assert np.isinf(differences(one, np.full((2, 3), np.nan), 1.0)).all()


def test_answers_that_are_all_alike_have_a_scale_too() -> None:
    assert spread(np.full((5, 3), 7.0)) > 0 and spread(np.zeros((5, 3))) > 0
