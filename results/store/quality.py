"""The ways in which records tell quality: the share that is right, how surprised a language model is, how close
texts come to a reference."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from results.store.record import CaseRecord


@dataclass(frozen=True)
class Quality:
    """value, loss: the names of the numbers in an accuracy record, what the model reaches and what it lost against
    the dense model. points: whether the loss is a difference of fractions, else it is a share of the dense value."""

    value: str
    loss: str
    points: bool


ACCURACY = Quality("accuracy", "accuracy_drop", True)
PERPLEXITY = Quality("perplexity", "perplexity_rise", False)
SCORE = Quality("score", "score_drop", True)
_TASKS = {"causal-lm": PERPLEXITY, "translation": SCORE, "summarization": SCORE}
_METRICS = {"chrf": "chrF", "rougeL": "ROUGE-L"}


@dataclass(frozen=True)
class Words:
    """What the columns of a table are called. value: `accuracy`. loss, unit: `drop`, `points`."""

    value: str
    loss: str
    unit: str

    def lost(self, points: str = "points") -> str:
        """`drop, points`. points: how points are called where there is little room."""
        return f"{self.loss}, {self.unit.replace('points', points)}"


MIXED = Words("quality", "loss", "points or %")


def words_of(records: Iterable[CaseRecord]) -> Words:
    """What is true of all of these records: neutral words where they tell quality in several ways, those of accuracy
    where none holds a number."""
    every = list(records)
    found = qualities(every) or [ACCURACY]
    if len(found) > 1:
        return MIXED
    if found == [PERPLEXITY]:
        return Words("perplexity", "rise", "%")
    if found == [ACCURACY]:
        return Words("accuracy", "drop", "points")
    metrics = {metric_of(record) for record in every if quality_of(record) is SCORE}
    return Words(metrics.pop() if len(metrics) == 1 else "score", "drop", "points")


def quality_of(record: CaseRecord | None) -> Quality:
    """How this record tells it; accuracy where it holds neither."""
    return quality_in(record.measures if record is not None else ())


def qualities(records: Iterable[CaseRecord]) -> list[Quality]:
    """The ways in which these records tell it, each once; none where no record holds a number."""
    every = (ACCURACY, PERPLEXITY, SCORE)
    there = {name for record in records for name, found in record.measures.items() if found.value is not None}
    return [told for told in every if told.value in there]


def of_task(task: str) -> Quality:
    """How a task of this kind is told."""
    return _TASKS.get(task, ACCURACY)


def quality_in(names: Container[str]) -> Quality:
    """How a record tells it whose numbers have these names."""
    return next((told for told in (PERPLEXITY, SCORE) if told.value in names), ACCURACY)


def metric_of(record: CaseRecord | None) -> str:
    """What people call the score of this record: `chrF`; "score" where it does not say, or is none that is known."""
    named = record.evidence.get("metric") if record is not None else None
    return _METRICS.get(named, "score") if isinstance(named, str) else "score"
