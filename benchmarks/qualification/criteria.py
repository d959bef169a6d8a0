"""What a qualified machine must show, each with number and bound. Pure: measured numbers in, criteria out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.measure.watch import Window
from benchmarks.qualification.delay import DELAY, Delay, found_in
from benchmarks.qualification.effort import WANTED
from benchmarks.qualification.noise import Round
from benchmarks.qualification.spread import Spread
from benchmarks.verdicts import anytime_interval
from compressors.interface import Hardware
from results.history.qualification import Criterion

SPREAD = {"cpu": 0.02, "cuda": 0.01}
"""Half-width of dense against dense, and τ: at most."""
STEAL = 0.02
FOREIGN = 0.10
INTERVAL_ALPHA = 0.02


def criteria(
    hardware: Hardware, rounds: Sequence[Round], spread: Spread, delay: Delay, window: Window
) -> tuple[Criterion, ...]:
    """Every criterion, in the order in which they are read."""
    first = [seconds for r in rounds for seconds in r.first]
    second = [seconds for r in rounds for seconds in r.second]
    log_low, log_high = anytime_interval(first, second, INTERVAL_ALPHA)
    low, high = math.exp(log_low), math.exp(log_high)
    half = (high - low) / 2
    widest = SPREAD["cpu" if hardware.device == "cpu" else "cuda"]
    false_alarm = found_in(first, second)
    taken = f"in {delay.pairs} pairs"
    found = [
        Criterion(
            name="fresh pairs of processes",
            found=f"{len(rounds)}, {len(first)} pairs of slots",
            bound=f"at least {WANTED}",
            outcome=_outcome(len(rounds) >= WANTED),
            value=len(rounds),
            limit=WANTED,
        ),
        Criterion(
            name="dense against dense contains 1",
            found=f"[{low:.4f}, {high:.4f}]",
            bound="1 inside",
            outcome=_outcome(low <= 1 <= high),
        ),
        _at_most("half-width of that interval", half, widest, digits=2),
        _at_most("tau of placement", spread.placement, widest, digits=2),
        _at_most("tau of contention", spread.contention, widest, digits=2),
        Criterion(
            name=f"injected delay of {DELAY:.0%} found",
            found=f"yes, at pair {delay.found_at}" if delay.found else f"no, {taken}",
            bound="yes",
            outcome=_outcome(delay.found),
            value=delay.found_at,
        ),
        Criterion(
            name="delay found where there is none",
            found=f"yes, at pair {false_alarm.found_at}" if false_alarm.found else "no",
            bound="no",
            outcome=_outcome(not false_alarm.found),
            value=false_alarm.found_at,
        ),
        _share("steal time", window.steal, STEAL),
        _share("load of other processes", window.foreign, FOREIGN),
    ]
    if hardware.device == "cpu":
        found.append(
            Criterion(name="throttling", found="cannot be read here", bound="none", outcome="unknown")
            if window.throttles is None
            else Criterion(
                name="throttling",
                found=f"{window.throttles} times",
                bound="none",
                outcome=_outcome(window.throttles == 0),
                value=window.throttles,
                limit=0,
            )
        )
    return (*found, *_of_gpu(window))


def qualified(found: Sequence[Criterion]) -> bool:
    """Whether none was missed; what cannot be read decides nothing."""
    return all(criterion.outcome != "missed" for criterion in found)


def _of_gpu(window: Window) -> list[Criterion]:
    gpu = window.gpu
    if gpu is None:
        return []
    if gpu.unknown:
        return [Criterion(name="state of the GPU", found=gpu.unknown, bound="known", outcome="missed")]
    return [
        Criterion(
            name="GPU throttling",
            found=", ".join(gpu.throttled) or "none",
            bound="none",
            outcome=_outcome(not gpu.throttled),
        ),
        Criterion(
            name="other processes on the GPU",
            found=str(len(gpu.foreign)),
            bound="none",
            outcome=_outcome(not gpu.foreign),
            value=len(gpu.foreign),
            limit=0,
        ),
    ]


def _share(name: str, value: float | None, limit: float) -> Criterion:
    if value is None:
        return Criterion(name=name, found="cannot be read here", bound=f"at most {limit:.0%}", outcome="unknown")
    return _at_most(name, value, limit, digits=1)


def _at_most(name: str, value: float, limit: float, *, digits: int) -> Criterion:
    known = math.isfinite(value)
    return Criterion(
        name=name,
        found=f"{value:.{digits}%}" if known else "too few pairs",
        bound=f"at most {limit:.0%}",
        outcome=_outcome(value <= limit),
        value=value if known else None,
        limit=limit,
    )


def _outcome(met: bool) -> str:
    return "met" if met else "missed"
