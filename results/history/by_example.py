"""What an accuracy record holds by test example: whether each was right, or what was lost on it."""

from __future__ import annotations

from collections.abc import Mapping

from results.store.record import CaseRecord

LOSSES = (("nll", "tokens"), ("right", "words"), ("chrf", "characters"), ("rougeL", "characters"))
"""What an accuracy record holds by example where it is neither right nor wrong: of a language model, of labelled words,
of generated texts."""


def correct(record: CaseRecord) -> list[bool] | None:
    """Whether each example was right, from an accuracy record's evidence; None where it is not there."""
    found, truth = record.evidence.get("predictions"), record.evidence.get("labels")
    if not isinstance(found, list | tuple) or not isinstance(truth, list | tuple) or len(found) != len(truth):
        return None
    return [a == b for a, b in zip(found, truth, strict=True)]


def losses(record: CaseRecord) -> dict[str, tuple[float, ...]] | None:
    """As `baseline.Accepted` has them, from an accuracy record's evidence; None where they are not there."""
    return losses_in(record.evidence)


def losses_in(stored: Mapping[str, object]) -> dict[str, tuple[float, ...]] | None:
    """The same, from values that stand under the names of one of `LOSSES`."""
    names = next((names for names in LOSSES if all(name in stored for name in names)), None)
    if names is None:
        return None
    found: dict[str, tuple[float, ...]] = {}
    for name in names:
        values = stored[name]
        if not isinstance(values, list | tuple) or not all(type(v) in (int, float) for v in values):
            return None
        found[name] = tuple(values)
    return found if len({len(values) for values in found.values()}) == 1 else None
