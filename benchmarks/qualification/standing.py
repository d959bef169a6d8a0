"""What a run may use of a machine's qualifications: its τ, where that came from, and the range of its probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from benchmarks.measure.conditions import medians
from benchmarks.qualification.qualify import contended, stored_rounds
from results.history.qualification import History

CEILINGS = ("bandwidth_gb_s", "fp32_gflop_s", "bf16_gflop_s")
VALID = timedelta(days=1)
"""How long a qualification stands for its machine."""


@dataclass(frozen=True)
class Standing:
    """tau and where it came from, in words that records carry. qualification: the stored one's id, None
    without. reference: medians of the probes, empty where the machine has none: nothing is out of range.
    bandwidth_gb_s, fp32_gflop_s, bf16_gflop_s: the most that was reached. quick: by the short qualification."""

    tau: float = 0.0
    source: str = "none: the machine is not qualified"
    qualified: bool = False
    qualification: str | None = None
    reference: Mapping[str, float] = field(default_factory=dict)
    bandwidth_gb_s: float | None = None
    fp32_gflop_s: float | None = None
    bf16_gflop_s: float | None = None
    quick: bool = False


def standing(
    history: History, given: float | None = None, *, own: str | None = None, now: datetime | None = None
) -> Standing:
    """The standing by the latest qualification of the last day; `given` takes the place of its τ. One that
    was taken under load by others stands only for the run that made it (`own`, its id): the next asks again.

    The range of the probes is that of the machine's stored rounds together: on a shared machine bandwidth
    swings within hours by as much as one qualification of a minute cannot know."""
    fit = tuple(q for q in history.qualifications if q.id == own or not contended(q))
    latest = dataclasses.replace(history, qualifications=fit).latest(within=VALID, now=now)
    reference = medians([r.probes for r in stored_rounds(history)]) if latest else {}
    ceilings = {name: latest.ceilings.get(name) if latest else None for name in CEILINGS}
    identity = latest.id if latest else None
    qualified = latest is not None and latest.qualified
    quick = latest is not None and latest.quick
    if given is not None:
        return Standing(given, "option --tau", qualified, identity, reference, quick=quick, **ceilings)
    if latest is None:
        return Standing()
    kind = "quick qualification" if latest.quick else "qualification"
    return Standing(latest.tau, f"{kind} {latest.id}", qualified, identity, reference, quick=quick, **ceilings)
