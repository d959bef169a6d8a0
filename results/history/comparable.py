"""Which results may be compared: of the same case, measured on the same, and fit to be compared at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from results.store.record import CaseRecord

Key = tuple[str, str]
"""(measure, case)."""

PARTS = {
    "model": "the model changed: another of the same name",
    "examples": "the data changed",
    "metric": "the metric changed",
}
"""What a result is measured on, and what is said where it is another."""


def measured_on(record: CaseRecord) -> dict[str, str]:
    """Part -> hash, of what a record was measured on; empty where that was not kept."""
    found = record.evidence.get("measured_on")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def moved_between(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What two results were not both measured on, in words; None where nothing is known to differ."""
    return next(
        (said for part, said in PARTS.items() if part in before and part in now and before[part] != now[part]), None
    )


def of_models(keys: Iterable[Key], models: Collection[tuple[str, str]]) -> set[Key]:
    """Of accepted results those of some models, each with a device: what another run measured is not missing in this
    one."""
    parts = [f"-{model}-{hardware}" for model, hardware in models]
    return {key for key in keys if any(key[1].endswith(part) or f"{part}-" in key[1] for part in parts)}


def usable(record: CaseRecord) -> bool:
    """Whether a record may be compared with and become history: it holds a result, and a speed was not
    measured while the machine was contended, throttled or shared."""
    if record.verdict in ("error", "unsupported", "unqualified"):
        return False
    conditions = record.evidence.get("conditions", {})
    return conditions.get("undisturbed", conditions.get("qualified", True)) is not False  # records before had the other
