"""Accepted results: what later runs on the same machine are compared with.

A baseline is history and never a floor: targets stand in `targets.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from results.history.by_example import correct, losses
from results.history.comparable import Key, measured_on
from results.store.record import CaseRecord
from results.store.strict_json import Number

KEPT = {
    "accuracy": ("accuracy", "accuracy_drop", "perplexity", "perplexity_rise", "score", "score_drop"),
    "speed": ("speedup", "speedup_vs_control"),
    "footprint": ("size_ratio", "disk_bytes", "peak_memory_bytes"),
}
"""Measure -> the numbers that a baseline keeps of it."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """One accepted result. values: name -> {value, low, high}. outcomes: whether each test example was
    right, packed into hexadecimal digits, first example first; None but for accuracy. examples: how many. losses:
    where examples are neither right nor wrong, one number for each of them under the names of one of
    `by_example.LOSSES`: {"nll": nats, "tokens": how many}, {"right": words, "words": how many}, {"chrf" or "rougeL":
    fractions, "characters": of the reference}; None else."""

    run: str
    accepted: str
    reason: str = ""
    values: Mapping[str, Mapping[str, Number | None]] = field(default_factory=dict)
    outcomes: str | None = None
    examples: int = 0
    losses: Mapping[str, tuple[float, ...]] | None = None
    more: tuple[tuple[str, float], ...] = ()
    """Of a speed that several runs were accepted for: each run and its speed-up, oldest first; else none."""
    measured_on: Mapping[str, str] = field(default_factory=dict)
    """What it was measured on, part by part, see `comparable.measured_on`; none for what was accepted before that was
    kept."""

    @property
    def since(self) -> str:
        """The first run that it is the result of: what came before is another history."""
        return self.more[0][0] if self.more else self.run

    def speeds(self) -> list[float]:
        """The speed-ups of all runs that were accepted."""
        value = self.value("speedup")
        return [speed for _, speed in self.more] or ([float(value)] if value else [])

    def correct(self) -> list[bool] | None:
        """Whether each example was right, None where that was not kept."""
        if self.outcomes is None:
            return None
        bits = bin(int(f"1{self.outcomes}", 16))[3:]  # the leading 1 keeps leading zeros
        return [bit == "1" for bit in bits[: self.examples]]

    def value(self, name: str, part: str = "value") -> Number | None:
        """The number called `name`, or an end of its interval: "low" or "high"."""
        return self.values.get(name, {}).get(part)


@dataclass(frozen=True)
class Baseline:
    """What is accepted for one fingerprint. machine: the fingerprint's key, to say what differs elsewhere."""

    fingerprint: str
    machine: Mapping[str, Any] = field(default_factory=dict)
    cases: Mapping[Key, Accepted] = field(default_factory=dict)


def accepted_of(record: CaseRecord, when: str = "", reason: str = "") -> Accepted:
    """A record as a baseline keeps it."""
    values = {
        name: {"value": m.value, "low": m.low, "high": m.high}
        for name in KEPT.get(record.measure, ())
        if (m := record.measures.get(name)) is not None
    }
    right = correct(record)
    return Accepted(
        run=record.run,
        accepted=when,
        reason=reason,
        values=values,
        outcomes=None if right is None else _pack(right),
        examples=0 if right is None else len(right),
        losses=losses(record),
        measured_on=measured_on(record),
    )


def _pack(bits: Iterable[bool]) -> str:
    text = "".join("1" if bit else "0" for bit in bits)
    padded = text.ljust(-(-len(text) // 4) * 4, "0")
    return "".join(f"{int(padded[i : i + 4], 2):x}" for i in range(0, len(padded), 4))


def accepted_runs(baselines: Iterable[Baseline]) -> dict[tuple[str, str, str], str]:
    """(fingerprint, measure, case) -> the run that was accepted for it: what `Runs.history` marks."""
    return {(one.fingerprint, *key): kept.run for one in baselines for key, kept in one.cases.items()}
