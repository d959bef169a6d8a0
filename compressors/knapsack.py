"""One choice for each of many things under a budget, by an integer program."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp


def cheapest(costs: np.ndarray, sizes: np.ndarray, budget: float) -> list[int]:
    """One choice for each row so that the sum of `costs` is least and that of `sizes` at most `budget`: a knapsack of
    many choices, as an integer program. costs, sizes: (rows, choices). There must be one that fits."""
    rows, choices = costs.shape
    one_each = np.kron(np.eye(rows), np.ones(choices))
    absolute = np.abs(costs)
    scale = max(float(absolute.min(1).sum()), 1e-12 * float(absolute.max()), 1e-300)
    found = milp(
        (costs / scale).ravel(),
        integrality=np.ones(costs.size),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(sizes.ravel()[None], ub=budget)],
        options={"mip_rel_gap": 0.0},
    )
    return [int(row) for row in found.x.reshape(rows, choices).argmax(1)]
