"""Answers that have nothing to do with the dense model's are doubted; those that are merely worse are not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.unlike import LEVEL, unlike

NAMES = ("sport", "tech", "politics")


def draw(seed: int, count: int = 600) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, count)


def test_a_model_that_is_worse_is_not_doubted() -> None:
    dense = draw(0)
    worse = np.where(np.random.default_rng(1).random(len(dense)) < 0.7, draw(2), dense)
    assert (worse == dense).mean() < 0.6
    assert unlike(dense, worse, NAMES) is None
    assert unlike(dense, dense, NAMES) is None


def test_a_random_head_is_and_no_order_of_its_outputs_is_named() -> None:
    found = unlike(draw(0), draw(5), NAMES)
    assert found is not None and "no better than chance" in found
    assert "another order" not in found


def test_outputs_in_another_order_are_named_as_they_would_be_right() -> None:
    dense = draw(0)
    order = np.array([1, 2, 0])  # what it calls 1 is sport
    found = unlike(dense, order[dense], NAMES)
    assert found is not None
    assert "with its outputs as politics, sport, tech it would agree in 100%" in found


def test_one_answer_to_everything_is_doubted_unless_the_dense_model_gives_it_too() -> None:
    assert unlike(draw(0), np.zeros(600, int), NAMES)
    assert unlike(np.zeros(600, int), np.zeros(600, int), NAMES) is None


def test_few_examples_that_agree_are_not_doubted() -> None:
    """Of twenty that are nearly all of one class even agreement throughout could be chance."""
    dense = np.zeros(20, int)
    dense[3] = 1
    assert unlike(dense, dense, NAMES) is None
    nine_of_ten = np.array([0, 1] * 5)
    assert unlike(nine_of_ten, np.concatenate([[1], nine_of_ten[1:]]), NAMES) is None


def test_an_order_that_fits_by_chance_alone_is_not_named() -> None:
    coin = np.random.default_rng(0)
    for _ in range(20):
        found = unlike(coin.integers(0, 77, 100), coin.integers(0, 77, 100), ())
        assert found is None or "another order" not in found


@pytest.mark.parametrize("shares", [(1, 1, 1), (8, 1, 1)])
def test_two_that_know_nothing_of_each_other_are_doubted_nearly_always(shares: tuple[int, ...]) -> None:
    """By chance alone one in a hundred agrees better than chance; here that holds with classes of unequal size."""
    coin, weights = np.random.default_rng(0), np.array(shares) / sum(shares)
    missed = sum(
        unlike(coin.choice(3, 400, p=weights), coin.choice(3, 400, p=weights), NAMES) is None for _ in range(500)
    )
    assert missed <= 3 * LEVEL * 500


def test_tokens_of_a_large_vocabulary_are_compared_without_a_table_of_all_pairs() -> None:
    coin = np.random.default_rng(0)
    dense, other = coin.integers(0, 49152, 2000), coin.integers(0, 49152, 2000)
    assert "no better than chance" in (unlike(dense, other, ()) or "")
    assert unlike(dense, np.where(coin.random(2000) < 0.9, other, dense), ()) is None
