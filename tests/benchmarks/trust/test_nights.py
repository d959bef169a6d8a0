"""Nights are drawn reproducibly, in blocks, from one process a side."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.trust.nights import BLOCK, simulate
from benchmarks.trust.samples import PAIRS, Recording, Session


def numbered(session: Session) -> list[Recording]:
    """Recordings whose samples say where they come from: recording, side, position."""
    return [
        r.model_copy(
            update={
                "old": [1000.0 * number + p for p in range(PAIRS)],
                "new": [1000.0 * number + 500 + p for p in range(PAIRS)],
            }
        )
        for number, r in enumerate(session.of(0))
    ]


def test_a_seed_fixes_every_night(session: Session) -> None:
    def drawn(seed: int) -> list[float]:
        return [x for n in simulate(session.of(0), nights=5, pairs=60, seed=seed) for x in (*n.old, *n.new, *n.stored)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_blocks_are_consecutive_and_pairs_stay_together(session: Session) -> None:
    swapped = 0
    for night in simulate(numbered(session), nights=40, pairs=60, seed=0):
        assert len(night.old) == len(night.new) == len(night.stored) == 60
        assert set(np.abs(night.old - night.new)) == {500.0}, "a pair is of one recording and one moment"
        assert len(set(night.old // 500)) == len(set(night.stored // 500)) == 1, "a side is one process"
        assert night.old[0] // 1000 != night.stored[0] // 1000, "the night before is another"
        for start in range(0, 60, BLOCK):
            steps = np.diff(night.old[start : start + BLOCK] % 500)
            assert set(steps) <= {1.0, 1.0 - PAIRS}
        swapped += night.old[0] % 1000 >= 500
    assert 5 < swapped < 35, "old and new change places by a fair coin"


def test_every_position_is_as_likely(session: Session) -> None:
    seen = np.concatenate([n.old % 500 for n in simulate(numbered(session), nights=1000, pairs=PAIRS, seed=2)])
    counts = np.bincount(seen.astype(int), minlength=PAIRS)
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_one_recording_has_no_night_before(session: Session) -> None:
    with pytest.raises(ValueError, match="two recordings"):
        next(simulate(session.of(0)[:1], nights=1, pairs=10, seed=0))
