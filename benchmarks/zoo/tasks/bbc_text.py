"""BBC News as text to be predicted: 128 documents for testing, 256 others for calibration and recovery."""

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


@dataclass(frozen=True)
class BbcText(Task):
    """The first documents of either side of the split that `bbc-news` makes, so that no text is in both."""

    name: ClassVar[str] = "bbc-text"
    quality: ClassVar[Quality] = LanguageModelling()
    test_examples: ClassVar[int] = 128
    assets: ClassVar[tuple[WheelAsset, ...]] = bbc_news.TASK.assets
    training_examples: ClassVar[int] = 256

    def load(self, cache: Cache) -> datasets.DatasetDict:
        splits = bbc_news.TASK.load(cache)
        counts = {"train": self.training_examples, "test": self.test_examples}
        return datasets.DatasetDict({name: splits[name].select(range(count)) for name, count in counts.items()})


TASK = BbcText()
