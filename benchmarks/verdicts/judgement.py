"""What every judgement has in common: its words, its fields, and the checks on its input."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNQUALIFIED = "unqualified"
    UNSUPPORTED = "unsupported"
    ERROR = "error"


@dataclass(frozen=True)
class Judgement:
    """An estimate with its interval, the bound it was held to, and the verdict (None without a bound)."""

    value: float
    low: float
    high: float
    bound: float | None
    verdict: Verdict | None
    reason: str  # one line for a person: number, unit, interval, bound


def check_fraction(name: str, value: float, below: float = 1.0) -> None:
    if not 0 < value < below:
        raise ValueError(f"{name} must be above 0 and below {below:g}, got {value}")


def finite_list(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a non-empty list of finite numbers")
    return array


def points(fraction: float) -> str:
    """A fraction in percent or in percentage points, as reasons print it."""
    return f"{100 * fraction:.4g}"
