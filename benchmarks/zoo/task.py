"""What a task is: examples in a train and a test split, and how answers to them are scored."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.cache import Cache
from benchmarks.quality.classification import Classification
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.wheel import WheelAsset

if TYPE_CHECKING:  # see `benchmarks.zoo.model`
    import datasets


@dataclass(frozen=True)
class Task(abc.ABC):
    """One task. `load` gives a DatasetDict with the splits `train` and `test`, and where there are classes a column
    `label`."""

    name: ClassVar[str]
    quality: ClassVar[Quality] = Classification()
    """How answers are scored."""
    labels: ClassVar[tuple[str, ...]] = ()
    """The names of the classes, where there are classes."""
    test_examples: ClassVar[int]
    """Examples in the test split: known before loading, so that a margin it cannot resolve is refused early."""
    assets: ClassVar[tuple[WheelAsset, ...]] = ()

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a person is shown of one row of the test split, as `benchmarks.quality.shown` says; here its `text`."""
        return {"text": row["text"]} if "text" in row else {}

    @abc.abstractmethod
    def load(self, cache: Cache) -> datasets.DatasetDict:
        """The splits. Raises AssetError where the data cannot be had."""


def without_duplicates(rows: Sequence[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """The rows whose `column` was not seen before. A text in both splits would be a test of memory."""
    seen: set[str] = set()
    kept = []
    for row in rows:
        digest = hashlib.sha256(row[column].encode()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            kept.append(row)
    return kept


def stratified_split(data: datasets.Dataset, test_examples: int, seed: int) -> datasets.DatasetDict:
    """A fixed split with the same share of each class on both sides."""
    return data.train_test_split(test_size=test_examples, stratify_by_column="label", seed=seed)
