"""The contract of a way to score: a task names one, the suite does the rest."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.quality.beside import Beside, Bounds
from compressors import install
from compressors.interface import NOT_SCORED, Examples
from compressors.runtimes.base import Forward
from results.store.record import Measure

Answers = Mapping[str, np.ndarray]
"""What is kept of a model's outputs: name -> array, its first axis the example."""
Asked = np.ndarray | dict[str, np.ndarray]
"""What a model says of one batch: the outputs of a forward pass, or what was made of several."""


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

    more_bounds: ClassVar[frozenset[str]] = frozenset()
    """The keys of targets.toml that it can judge beside that one."""

    output: ClassVar[str] = "logits"
    """What of a model's answer is scored, as in ModelSpec."""

    one_by_one: ClassVar[bool] = True
    """Whether an example is scored by the answers to it alone, so that a part of the examples can be judged."""

    @property
    def requires(self) -> Mapping[str, str]:
        """What must be importable for it beside the suite's own: module -> what pip calls it."""
        return {}

    def missing(self) -> str | None:
        """Why it cannot score here, with the command that helps; None where it can."""
        return install.reason("scoring", self.requires)

    def veiled(self, test: Examples, training: Examples) -> Examples:
        """The test examples as a model is asked them: without the answers, which no method may see. Of labels is left
        which positions have one, since `keep` may ask for that."""
        if test.labels is None:
            return test
        return Examples(test.inputs, torch.where(test.labels == NOT_SCORED, NOT_SCORED, 0))

    def ask(self, forward: Forward, batch: Examples) -> Asked:
        """What the model says of one batch; here one forward pass on all of its inputs.

        Another way to ask may call `forward` as often as it likes, always with all examples of the batch in their
        order: an example whose outputs are not finite in any of the passes is told as such."""
        return forward(arrays_of(batch))

    @abc.abstractmethod
    def keep(self, outputs: Any, batch: Examples) -> dict[str, np.ndarray]:
        """What to keep of one batch. outputs: what `ask` gave."""

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

    @property
    def judges(self) -> bool:
        """Whether answers that were asked for by this are judged by this, and not by how the dense model's are: what
        stands in for that one may answer in another way."""
        return False

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        """Why the dense model's answers are no quality that a method could keep, in one line: no better than one answer
        to everything, or a test set that asks one thing alone. None where they are. labels: names of the classes."""
        return None

    def unlike(self, dense: Answers, compressed: Answers, labels: Sequence[str]) -> str | None:
        """Why these answers are doubted to be a compressed model's of this dense one, in one line; None where they are
        not."""
        return None

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        """What is told beside the average. bounds: those of `more_bounds` that targets state."""
        return Beside()

    def too_few(self, examples: int) -> str | None:
        """Why so many examples tell nothing by this, with a bound or without, in one line; None where they do."""
        return None

    def resolves(self, examples: int, bound: float) -> str | None:
        """Why so many examples cannot show that the bound is kept, in one line; None where they can."""
        return None

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        """What model hubs call the task of a model with these inputs; None where they have no word for it."""
        return None


def arrays_of(batch: Examples) -> dict[str, np.ndarray]:
    """The inputs of a batch as runtimes take them."""
    return {name: values.numpy() for name, values in batch.inputs.items()}
