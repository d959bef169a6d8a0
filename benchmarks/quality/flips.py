"""The examples on which compressed and dense differ, picked and described for a record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the zoo's tasks name how they are scored, which leads here
    from benchmarks.quality.shown import Shown

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


def rescored(
    dense: np.ndarray, compressed: np.ndarray, told: Callable[[int], Mapping[str, str]], shown: Sequence[Shown]
) -> dict[str, Any]:
    """The examples whose score changed: `total`, how many `lost` and `gained`, and at most `MOST` of them as
    `examples`, the largest changes of each kind in turns: `row`, `kind`, what `told` says of it and what it is.

    dense, compressed: scores, (examples,). told: a row -> `label`, `dense` and `compressed` in words.
    """
    change = compressed - dense
    order = np.argsort(-np.abs(change), kind="stable")
    lost, gained = [int(i) for i in order if change[i] < 0], [int(i) for i in order if change[i] > 0]
    turns = [row for pair in itertools.zip_longest(lost, gained) for row in pair if row is not None]
    return {
        "total": len(turns),
        "lost": len(lost),
        "gained": len(gained),
        "examples": [
            {"row": row, "kind": "lost" if change[row] < 0 else "gained", **told(row), **shown[row]}
            for row in sorted(turns[:MOST])
        ],
    }


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)
