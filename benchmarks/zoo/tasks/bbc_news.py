"""BBC News: which of five desks a document came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import datasets

from benchmarks.cache import Cache
from benchmarks.zoo.assets import bbc_news
from benchmarks.zoo.task import Task, stratified_split, without_duplicates
from benchmarks.zoo.wheel import AssetError, WheelAsset


@dataclass(frozen=True)
class BbcNews(Task):
    """98 of the 2,225 documents are exact copies; they are removed before splitting. Half of the rest
    is for testing, so that a margin of one point can be resolved."""

    name: ClassVar[str] = "bbc-news"
    labels: ClassVar[tuple[str, ...]] = ("business", "entertainment", "politics", "sports", "tech")
    test_examples: ClassVar[int] = 1063
    assets: ClassVar[tuple[WheelAsset, ...]] = (bbc_news.ASSET,)

    def load(self, cache: Cache) -> datasets.DatasetDict:
        folder = bbc_news.ASSET.folder(cache)
        rows = [
            {"text": path.read_bytes().decode("latin-1").strip(), "label": number}
            for number, label in enumerate(self.labels)
            for path in sorted((folder / label).glob("*.txt"))
        ]
        if not rows:
            raise AssetError(f"asset {bbc_news.ASSET.name}: no documents in {folder}")
        data = datasets.Dataset.from_list(without_duplicates(rows, "text"))
        data = data.cast_column("label", datasets.ClassLabel(names=list(self.labels)))
        return stratified_split(data, self.test_examples, seed=0)


TASK = BbcNews()
