"""The two ways in which records tell quality: the share that is right, and how surprised a language model is."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from results.record import CaseRecord


@dataclass(frozen=True)
class Quality:
    """value, loss: the names of the numbers in an accuracy record, what the model reaches and what it lost against
    the dense model. points: whether the loss is a difference of fractions, else it is a share of the dense value."""

    value: str
    loss: str
    points: bool


ACCURACY = Quality("accuracy", "accuracy_drop", True)
PERPLEXITY = Quality("perplexity", "perplexity_rise", False)


def quality_of(record: CaseRecord | None) -> Quality:
    """How this record tells it; accuracy where it holds neither."""
    return quality_in(record.measures if record is not None else ())


def quality_in(names: Container[str]) -> Quality:
    """How a record tells it whose numbers have these names."""
    return PERPLEXITY if PERPLEXITY.value in names else ACCURACY
