"""The examples on which compressed and dense differ, picked and described for a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the zoo's tasks name how they are scored, which leads here
    from benchmarks.zoo.shown import Shown

MOST = 40
"""Examples that one record holds. The predictions tell all flips; these are to be looked at."""


def flipped(
    labels: np.ndarray, dense: np.ndarray, compressed: np.ndarray, names: Sequence[str], shown: Sequence[Shown]
) -> dict[str, Any]:
    """`total` flips, and at most `MOST` of them as `examples`: the `row` in the test split (from 0), the names of
    `label`, `dense` and `compressed` answer, and `text` or `image`.

    labels, dense, compressed: class numbers, (examples,). Where there are more flips, what was lost, what was gained
    and what is wrong both times take turns, so that a case which loses much still shows what it gains.
    """
    rows = np.flatnonzero(dense != compressed)
    lost, gained = dense[rows] == labels[rows], compressed[rows] == labels[rows]
    queues = [list(rows[lost]), list(rows[gained]), list(rows[~lost & ~gained])]
    picked: list[int] = []
    while any(queues) and len(picked) < MOST:
        picked += [int(queue.pop(0)) for queue in queues if queue]
    return {
        "total": len(rows),
        "examples": [
            {"row": row, "label": _name(names, labels[row]), "dense": _name(names, dense[row]),
             "compressed": _name(names, compressed[row]), **shown[row]}
            for row in sorted(picked[:MOST])
        ],
    }  # fmt: skip


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)
