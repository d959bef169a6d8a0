"""Powers of two: a weight is a sign and a shift (Miyashita et al. 2016; INQ, Zhou et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from compressors.quantization.rounded_to_nearest import RoundedToNearest


@dataclass(frozen=True)
class QuantizeLog2(RoundedToNearest):
    """Stores each weight as 0 or ± a power of two, times the scale of its group of columns; nothing is trained again,
    as INQ would. 2 to 6 bits: more would only reach further down. Large weights lie far from a point with any number of
    bits: a fifth gains next to nothing."""

    name: ClassVar[str] = "quantize-log2"
    grid: ClassVar[str] = "log2"  # type: ignore[misc]  # no parameter here
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"bits": (6, 5, 4, 3, 2)}
