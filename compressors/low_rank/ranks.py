"""Ranks: the same share of every layer, or of each layer what loses least in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from compressors.knapsack import cheapest

MULTIPLE = 8
"""Ranks are rounded to a multiple of this: a product's kernel works on whole vectors of them."""


def rank_for(shape: Sequence[int], ratio: float) -> int | None:
    """The rank that `ratio` of the narrower side of a matrix means, or None where two factors would be no smaller."""
    height, width = shape
    narrow = min(height, width)
    rank = max(1, round(ratio * narrow / MULTIPLE) * MULTIPLE or round(ratio * narrow))
    return rank if rank * (height + width) < height * width else None


def by_budget(
    shapes: Mapping[str, Sequence[int]], spectra: Mapping[str, Tensor], uniform: Mapping[str, int]
) -> dict[str, int]:
    """Ranks of some of the layers, the others whole, that together take no more weights than those of `uniform` do, and
    lose least: the sum over the layers of the share of the squared error that a rank leaves.

    shapes: layer -> (out, in). spectra: layer -> its squared singular values, largest first, in the norm that an error
    is counted in. uniform: layer -> rank; a layer that is not in it is whole.

    A layer has the multiples of 8 below the rank at which two factors are no smaller than it, the rank that it has in
    `uniform`, or is whole and loses nothing. The last is a jump, so that what a layer loses over its weights is not
    convex, and going by the largest gain for each weight would not do. It is a knapsack, solved exactly.
    """
    options = {name: _options(shape, uniform.get(name)) for name, shape in shapes.items()}
    lost = {name: [_lost(spectra[name], rank) for rank in ranks] for name, ranks in options.items()}
    sizes = {name: [_weights(shapes[name], rank) for rank in ranks] for name, ranks in options.items()}
    budget = sum(_weights(shape, uniform.get(name)) for name, shape in shapes.items())
    most = max(map(len, options.values()))

    def table(of: Mapping[str, Sequence[float]]) -> np.ndarray:  # a row with fewer options repeats its last
        return np.array([[*row, *[row[-1]] * (most - len(row))] for row in of.values()], dtype=np.float64)

    chosen = cheapest(table(lost), table(sizes), budget)
    picked = {name: min(at, len(options[name]) - 1) for name, at in zip(shapes, chosen, strict=True)}
    plain = {name: options[name].index(uniform.get(name)) for name in shapes}
    if sum(sizes[n][at] for n, at in picked.items()) > budget or _sum(lost, picked) > _sum(lost, plain):
        picked = plain  # the program is exact to its tolerance only
    return {name: rank for name, at in picked.items() if (rank := options[name][at]) is not None}


def _options(shape: Sequence[int], uniform: int | None) -> list[int | None]:
    """The ranks that a layer may have, None for whole, which is last."""
    height, width = shape
    ranks = set(range(MULTIPLE, -(-height * width // (height + width)), MULTIPLE))
    return [*sorted(ranks | ({uniform} if uniform else set())), None]


def _weights(shape: Sequence[int], rank: int | None) -> int:
    height, width = shape
    return height * width if rank is None else rank * (height + width)


def _lost(squares: Tensor, rank: int | None) -> float:
    whole = float(squares.sum())
    return 0.0 if rank is None or not whole else float(squares[rank:].sum()) / whole


def _sum(lost: Mapping[str, Sequence[float]], picked: Mapping[str, int]) -> float:
    return sum(lost[name][at] for name, at in picked.items())
