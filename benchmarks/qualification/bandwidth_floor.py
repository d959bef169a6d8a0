"""The least time that a decode step can take on a machine: what it has to read, at the machine's memory bandwidth.

Each new token needs every weight once and all that the cache holds, a few operations for each byte, so that memory
decides and not arithmetic. How much of the time that was measured is this floor says what is left to gain by a better
kernel; fewer bytes lower the floor itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure.probes import BANDWIDTH
from benchmarks.qualification.standing import Standing


@dataclass(frozen=True)
class Floor:
    """bytes_read: for one new token in each row of the batch, at the context that the workload begins with.
    bandwidth_gb_s: 10^9 bytes a second, and where that was measured."""

    bytes_read: int
    bandwidth_gb_s: float
    source: str

    @property
    def seconds(self) -> float:
        """Of one step."""
        return self.bytes_read / (self.bandwidth_gb_s * 1e9)

    def share(self, seconds: float) -> float:
        """The part of `seconds`, measured for one step, that reading alone would take."""
        return self.seconds / seconds

    def evidence(self) -> dict[str, Any]:
        """For the record."""
        return {"seconds": self.seconds, "bandwidth_gb_s": self.bandwidth_gb_s, "source": self.source}


def floor_of(bytes_read: int, standing: Standing, probes: Sequence[Mapping[str, float]]) -> Floor | None:
    """The floor by the machine's qualification of the last day, else by the better of the `probes` around the case;
    None without either."""
    if standing.bandwidth_gb_s:
        return Floor(bytes_read, standing.bandwidth_gb_s, f"qualification {standing.qualification}")
    best = max((probe.get(BANDWIDTH, 0.0) for probe in probes), default=0.0)
    return Floor(bytes_read, best, "probes around this case") if best > 0 else None
