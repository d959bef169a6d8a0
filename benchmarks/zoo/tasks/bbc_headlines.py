"""BBC News: which body belongs to a headline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets

from benchmarks.cache import Cache
from benchmarks.quality.retrieval import Retrieval
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.task import Task, without_duplicates
from benchmarks.zoo.tasks import bbc_news
from benchmarks.zoo.wheel import WheelAsset


@dataclass(frozen=True)
class BbcHeadlines(Task):
    """The first line of a document is its headline, the rest its body. Documents that share a headline are left out
    but for the first: which body is the right one could not be told."""

    name: ClassVar[str] = "bbc-headlines"
    quality: ClassVar[Quality] = Retrieval()
    test_examples: ClassVar[int] = 500
    assets: ClassVar[tuple[WheelAsset, ...]] = bbc_news.TASK.assets

    def load(self, cache: Cache) -> datasets.DatasetDict:
        def pairs(split: datasets.Dataset) -> datasets.Dataset:
            rows = []
            for text in split["text"]:
                headline, _, body = text.partition("\n")
                rows.append({"headline": headline.strip(), "body": body.strip()})
            return datasets.Dataset.from_list(without_duplicates(rows, "headline")[: self.test_examples])

        return datasets.DatasetDict({name: pairs(split) for name, split in bbc_news.TASK.load(cache).items()})

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": row["headline"]}


TASK = BbcHeadlines()
