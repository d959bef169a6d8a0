"""Half-quadratic quantization: offsets fitted to the weights alone, in seconds (HQQ, Badri and Shaji 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressors.quantization.rounded_to_nearest import RoundedToNearest


@dataclass(frozen=True)
class QuantizeHqq(RoundedToNearest):
    """Rounds to the nearest of evenly spaced points whose offset is a real number for each group of columns, fitted to
    the group's weights; no data is needed. At 4 bits it gives codes and offsets as
    the authors' library does."""

    name: ClassVar[str] = "quantize-hqq"
    grid: ClassVar[str] = "hqq"  # type: ignore[misc]  # no parameter here
