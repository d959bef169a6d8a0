"""τ: the deviation of ln speed-up that comes from the machine and not from the pairs. Pure functions.

Two parts, of which the larger counts. Placement: dense against dense across fresh processes. Contention: the
ratio of two models with different bottlenecks, fp32 and bf16, across processes and across the machine's history;
dense against dense cannot show it, as both sides share one bottleneck and slow down together. Where bf16 is not
native, the ratio of the two probes takes its place. It is the poorer one: on a virtual machine it moved by 15 %
between rounds in which fp32 against bf16 moved by 3 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure.conditions import medians, out_of_range
from benchmarks.qualification.noise import MODELS, Round, control_ratios

HISTORY = 20
"""Earlier qualifications that are looked at: as many runs as a judgement against history takes."""


@dataclass(frozen=True)
class Spread:
    """tau: the larger of the two. controls: deviation of each control ratio. left_out: rounds, of this
    qualification and earlier ones, in which a probe was out of range."""

    placement: float
    contention: float
    controls: dict[str, float]
    rounds: int
    left_out: int

    @property
    def tau(self) -> float:
        return max(self.placement, self.contention)


def spread(rounds: Sequence[Round], earlier: Sequence[Round] = ()) -> Spread:
    """τ from the rounds of one qualification and those of earlier ones on the same machine.

    The deviations are those of the rounds' estimates as they are: the error of each is in them, which
    errs on the wide side. Rounds in which a probe was out of range count for neither part's history: a case
    under such conditions gets no verdict either, so τ need not cover them. At least half of all
    rounds are in range by how the range is made."""
    usual = medians([r.probes for r in (*rounds, *earlier)])
    kept = [r for r in (*rounds, *earlier) if not out_of_range(r.probes, usual)]
    counted = kept if len(kept) >= 3 else [*rounds, *earlier]
    controls = {name: deviation(values) for name, values in control_ratios(counted).items()}
    placement = deviation([r.placement for r in rounds])
    left_out = len(rounds) + len(earlier) - len(counted)
    contention = controls.get(MODELS, max(controls.values(), default=0.0))
    return Spread(placement, contention, controls, len(counted), left_out)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation, n − 1 below; 0 of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
