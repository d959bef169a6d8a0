"""The contract of a way to score: a task names one, the suite does the rest."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compressors.interface import Examples
from results.record import Measure

Answers = Mapping[str, np.ndarray]
"""What is kept of a model's outputs: name -> array, its first axis the example."""


@dataclass(frozen=True)
class Scored:
    """What an accuracy record says. measures, evidence: as the record has them; reason: one line for a person."""

    verdict: str
    reason: str
    measures: dict[str, Measure]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Quality(abc.ABC):
    """One way to score."""

    bound: ClassVar[str]
    """The key of targets.toml that states what may be lost."""

    output: ClassVar[str] = "logits"
    """What of a model's answer is scored, as in ModelSpec."""

    @abc.abstractmethod
    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        """What to keep of one batch. outputs: what the runtime gave, float32, first axis the example."""

    @abc.abstractmethod
    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        """Both models' answers to all of `test`, against `bound`; with None it is measured and not judged."""

    @abc.abstractmethod
    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        """How far one model's answers to the same examples moved at another batch size: as a record keeps it,
        and in a few words."""

    def examples_told(
        self, dense: Answers, compressed: Answers, test: Examples, labels: Sequence[str], shown: Sequence[Any]
    ) -> dict[str, Any]:
        """Evidence that a person looks at: examples on which the two models differ. labels: names of the classes;
        shown: what a person is shown of each example."""
        return {}

    def resolves(self, examples: int, bound: float) -> str | None:
        """Why so many examples cannot show that the bound is kept, in one line; None where they can."""
        return None

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        """What model hubs call the task of a model with these inputs; None where they have no word for it."""
        return None
