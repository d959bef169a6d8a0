"""BBC News as long texts to be predicted: documents joined, as none of them is as long as what attention is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import datasets

from benchmarks.cache import Cache
from benchmarks.quality.language_modelling import LanguageModelling
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks import bbc_news
from benchmarks.zoo.wheel import WheelAsset

CHARACTERS = 12_000
"""Of a text at least: more than 2,048 tokens of English."""


@dataclass(frozen=True)
class BbcLongText(Task):
    """Texts of several documents each, one after another with an empty line between, of either side of the split that
    `bbc-news` makes. Each document is in one text alone. What lies further back than a document is about something
    else: a model that cannot look back so far loses less here than on one long story."""

    name: ClassVar[str] = "bbc-long-text"
    quality: ClassVar[Quality] = LanguageModelling()
    test_examples: ClassVar[int] = 50
    assets: ClassVar[tuple[WheelAsset, ...]] = bbc_news.TASK.assets
    training_examples: ClassVar[int] = 24

    def load(self, cache: Cache) -> datasets.DatasetDict:
        splits = bbc_news.TASK.load(cache)
        counts = {"train": self.training_examples, "test": self.test_examples}
        found = {name: joined(splits[name]["text"][:], CHARACTERS)[:count] for name, count in counts.items()}
        return datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": t}) for name, t in found.items()})


def joined(documents: list[str], characters: int) -> list[str]:
    """Consecutive documents put together until a text has so many characters; what is left over is left out."""
    found: list[str] = []
    parts: list[str] = []
    for document in documents:
        parts.append(document.strip())
        if sum(map(len, parts)) >= characters:
            found.append("\n\n".join(parts))
            parts = []
    return found


TASK = BbcLongText()
