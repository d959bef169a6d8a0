"""The two ways in which records tell quality: the share that is right, and how surprised a language model is."""

from __future__ import annotations

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
    told = record is not None and PERPLEXITY.value in record.measures
    return PERPLEXITY if told else ACCURACY


def headline_of(record: CaseRecord, usual: str) -> str:
    """The number that stands for a record: `usual` (record.HEADLINE of its measure), or its perplexity."""
    return quality_of(record).value if record.measure == "accuracy" else usual
