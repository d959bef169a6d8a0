"""Answers that have nothing to do with the dense model's, as of a head that is random, or whose outputs are in another
order: told in words, whatever they score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

LEVEL = 0.01
"""Agreement that chance gives as often as this, and oftener, is no better than chance."""
RESTORED = 0.5
"""Of the agreement that chance leaves open: two that have so much are not doubted, however few the examples; and
another order of the outputs must give it to be named."""
MOST_NAMED = 8
MOST_ORDERED = 1000
"""Classes from which on no order is looked for: tokens of a vocabulary."""


def unlike(dense: np.ndarray, compressed: np.ndarray, labels: Sequence[str]) -> str | None:
    """Why the classes that were said are doubted beside the dense model's; None where they agree better than two that
    know nothing of each other, each with its own shares of classes (Cohen 1960). dense, compressed: (answers,) int."""
    count = len(dense)
    classes = 1 + int(max(dense.max(initial=0), compressed.max(initial=0)))
    same = int((dense == compressed).sum())
    shares = [np.bincount(said, minlength=classes) / count for said in (dense, compressed)]
    by_chance = float(shares[0] @ shares[1])
    if by_chance >= 1 or same / count - by_chance >= RESTORED * (1 - by_chance):
        return None
    if binomtest(same, count, by_chance, alternative="greater").pvalue <= LEVEL:
        return None
    told = (
        f"agrees with the dense model no better than chance ({same / count:.0%} of answers, {by_chance:.0%} by chance)"
    )
    if classes > MOST_ORDERED:
        return told
    even, odd = (_table(dense[first::2], compressed[first::2], classes) for first in (0, 1))
    meant, said = linear_sum_assignment(-even)  # the order is found on one half, and must hold on the other
    restored = float(odd[meant, said].sum()) / max(1, int(odd.sum()))
    if restored - by_chance >= RESTORED * (1 - by_chance):
        order = [str(labels[i]) if i < len(labels) else f"class {i}" for i in meant[np.argsort(said)]]
        listed = ", ".join(order[:MOST_NAMED]) + (", …" if len(order) > MOST_NAMED else "")
        told += f"; with its outputs as {listed} it would agree in {restored:.0%}: they are in another order"
    return told


def _table(dense: np.ndarray, compressed: np.ndarray, classes: int) -> np.ndarray:
    found = np.zeros((classes, classes), np.int64)
    np.add.at(found, (dense, compressed), 1)
    return found
