"""Were the conditions, while a speed was timed, those that its verdict speaks of? Pure judgement: what was
seen goes in (`benchmarks.measure.watch`, `benchmarks.measure.probes`), reasons come out.

The bounds say when a measurement is spoilt, not when a machine is good; those of a qualification
(`benchmarks.qualification.criteria`) are narrower. Why each is where it is: docs/hardware.md.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure.watch import Window

STEAL = 0.10
"""Share of the processors' time that the hypervisor may withhold."""
FOREIGN = 0.25
"""Share that processes outside ours may use. One busy thread beside two of ours, on two cores, takes a third;
on eight cores an eighth."""
PROBE_FACTOR = 1.5
"""A probe this many times below the qualified median is out of range. Above is never: that is no contention."""

UNITS = {"bandwidth_gb_s": ("memory bandwidth", "GB/s"), "matmul_gflop_s": ("matrix product", "GFLOP/s")}


@dataclass(frozen=True)
class Conditions:
    """What was seen around one case. probes: before and after it, each the best of its tries.
    reference: the qualified medians, empty where the machine has none: nothing is out of range then."""

    window: Window
    probes: Sequence[Mapping[str, float]] = ()
    reference: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For a record's evidence. undisturbed: whether it may be used as history, accepted or not."""
        found = faults(self)
        return {
            "undisturbed": not found,
            "faults": found,
            **dataclasses.asdict(self.window),
            "probes": [dict(p) for p in self.probes],
            "reference": dict(self.reference),
        }


def out_of_range(found: Mapping[str, float], reference: Mapping[str, float]) -> list[str]:
    """The names of the probes that are below their range."""
    return [name for name, usual in reference.items() if name in found and found[name] < usual / PROBE_FACTOR]


def faults(conditions: Conditions) -> list[str]:
    """Why a verdict on speed would not be one about this machine, each with number and bound; empty where
    nothing speaks against it."""
    seen, told = conditions.window, []
    if seen.steal is not None and seen.steal > STEAL:
        told.append(f"steal time {seen.steal:.0%} (at most {STEAL:.0%})")
    if seen.throttles:
        told.append(f"throttled {seen.throttles} times")
    if seen.foreign is not None and seen.foreign > FOREIGN:
        told.append(f"other processes took {seen.foreign:.0%} of the processors (at most {FOREIGN:.0%})")
    if seen.gpu:
        if seen.gpu.throttled:
            told.append(f"GPU throttled: {', '.join(seen.gpu.throttled)}")
        if seen.gpu.foreign:
            told.append(f"{len(seen.gpu.foreign)} other processes on the GPU")
    low: dict[str, float] = {}
    for found in conditions.probes:
        for name in out_of_range(found, conditions.reference):
            low[name] = min(found[name], low.get(name, found[name]))
    for name, value in low.items():
        what, unit = UNITS.get(name, (name, ""))
        usual = conditions.reference[name]
        told.append(f"{what} {value:.3g} {unit}, qualified at {usual:.3g} (at least {usual / PROBE_FACTOR:.3g})")
    return told


def medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each probe over samples."""
    names = {name for sample in samples for name in sample}
    return {name: statistics.median(s[name] for s in samples if name in s) for name in sorted(names)}
