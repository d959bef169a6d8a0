"""A few numbers of an answer, by which two answers to the same example are compared.

Predictions hide what differs: a model that leaves out half of its layers may still say the same class. So of each
answer some of the raw outputs are kept, the same places of all, and a difference is told as a share of how far the
model's own answers to different examples lie apart.
"""

from __future__ import annotations

import numpy as np

PLACES, FEATURES = 8, 16
"""Positions of a sequence, and numbers at each, that are kept."""


def sketch(outputs: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """(examples, numbers) float32 of outputs (examples, …): of a sequence, (examples, positions, width), PLACES
    positions spread over those that `mask`, (examples, positions), says are a text's, and FEATURES of each."""
    if outputs.ndim != 3:
        flat = outputs.reshape(len(outputs), -1)
        return np.ascontiguousarray(flat[:, _spread(flat.shape[1], PLACES * FEATURES)], dtype=np.float32)
    features = outputs[..., _spread(outputs.shape[2], FEATURES)]
    shares = np.linspace(0, 1, PLACES)
    if mask is None or mask.shape != outputs.shape[:2]:
        places = np.tile(np.rint(shares * (outputs.shape[1] - 1)).astype(int), (len(outputs), 1))
    else:
        texts = mask != 0
        first, length = texts.argmax(axis=1), np.maximum(1, texts.sum(axis=1))
        places = first[:, None] + np.rint(shares[None] * (length[:, None] - 1)).astype(int)
    found = features[np.arange(len(outputs))[:, None], places]
    return np.ascontiguousarray(found.reshape(len(outputs), -1), dtype=np.float32)


def _spread(size: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, most)).astype(int))


def spread(sketches: np.ndarray) -> float:
    """How far answers to different examples lie apart: the root mean square of each number's deviation over the
    examples. Where all are alike, a thousandth of their own size."""
    deviation = float(np.sqrt(np.mean(np.var(sketches.astype(np.float64), axis=0))))
    size = float(np.sqrt(np.mean(np.square(sketches, dtype=np.float64))))
    return max(deviation, 1e-3 * size, 1e-12)


def differences(one: np.ndarray, other: np.ndarray, scale: float) -> np.ndarray:
    """(examples,) how far two answers to each example lie apart, in units of `scale`: infinite where they have no
    common shape or are not finite."""
    if one.shape != other.shape:
        return np.full(len(one), np.inf)
    found = np.sqrt(np.mean(np.square(one.astype(np.float64) - other), axis=1)) / scale
    return np.where(np.isfinite(found), found, np.inf)


def whole(found: np.ndarray) -> float:
    """One number of several differences, (examples,): their root mean square."""
    return float(np.sqrt(np.mean(np.square(found)))) if len(found) else 0.0
