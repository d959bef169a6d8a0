"""The suite's own verdicts on this device: a planted delay, and two that are alike."""

from __future__ import annotations

import math
import statistics
import time

from benchmarks.gpu_check.check import Findings, NotHere, Setting
from benchmarks.measure.conditions import medians
from benchmarks.measure.speed import Budget
from benchmarks.qualification.delay import DELAY, found_in, inject
from benchmarks.qualification.effort import QUICK, Effort
from benchmarks.qualification.noise import Round, measure_rounds
from benchmarks.qualification.spread import spread
from benchmarks.verdicts import FEWEST, anytime_interval
from compressors.interface import no_progress

ALPHA = 0.02
DELAYED = Budget(200, 20.0, FEWEST, 0.0)
FEW_PAIRS = Budget(pairs=40, at_least=12, seconds=3.0, linger=3.0, fewest=FEWEST)
FEW = Effort(1, Budget(pairs=8, at_least=8, seconds=2.0, linger=2.0, fewest=1), FEW_PAIRS, False, 2.0)


def check_delay(setting: Setting, found: Findings) -> None:
    """One of two workers is slowed by 5 %; the speed test must say so."""
    seen = inject(setting.hardware, FEW_PAIRS if setting.tiny else DELAYED, seed=0, progress=no_progress)
    found.add("planted delay", DELAY)
    found.add("pairs", seen.pairs)
    found.add("found at pair", seen.found_at)
    for name, value in (("plain over slowed", seen.ratio), ("from", seen.low), ("to", seen.high)):
        found.add(name, value if math.isfinite(value) else None, "x")
    if not seen.found and setting.tiny:
        raise NotHere(f"{seen.pairs} pairs are too few on this machine at this moment")
    found.hold(seen.found, f"a delay of {DELAY:.0%} is not found in {seen.pairs} pairs: {seen.ratio:.3f}")


def check_alike(setting: Setting, found: Findings) -> None:
    """Dense against dense in fresh processes: no delay is found, and τ, what ratios move by of themselves."""
    started = time.perf_counter()
    rounds = measure_rounds(setting.hardware, FEW if setting.tiny else QUICK, seed=0, progress=no_progress)
    found.add("fresh pairs of processes", len(rounds))
    _noise(rounds, found)
    first = [seconds for r in rounds for seconds in r.first]
    second = [seconds for r in rounds for seconds in r.second]
    found.add("pairs", len(first))
    low, high = anytime_interval(first, second, ALPHA)
    for name, value in (("from", low), ("to", high)):
        found.add(name, math.exp(value) if math.isfinite(value) else None, "x")
    alarm = found_in(first, second)
    found.hold(not alarm.found, f"two alike are told apart at pair {alarm.found_at}: {alarm.ratio:.3f}")
    found.add("seconds of all", time.perf_counter() - started, "s")


def _noise(rounds: list[Round], found: Findings) -> None:
    noise = spread(rounds)
    found.add("tau", noise.tau)
    found.add("tau of placement", noise.placement)
    found.add("tau of contention", noise.contention)
    found.add("a forward pass", statistics.median(r.seconds for r in rounds), "s")
    controls = [control for r in rounds if (control := r.control) is not None]
    if controls:
        found.add("fp32 over bf16", math.exp(statistics.median(controls)), "x")
    for name, value in medians([r.probes for r in rounds]).items():
        found.add(f"probe {name}", value)
