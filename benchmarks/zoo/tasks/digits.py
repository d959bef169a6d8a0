"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, a third of them for testing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets

from benchmarks.cache import Cache
from benchmarks.zoo.task import Task, stratified_split


@dataclass(frozen=True)
class Digits(Task):
    """Pixels are scaled from 0…16 to −1…1."""

    name: ClassVar[str] = "digits"
    labels: ClassVar[tuple[str, ...]] = tuple(str(d) for d in range(10))
    test_examples: ClassVar[int] = 599

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"image": [[round(127.5 * (pixel + 1)) for pixel in line] for line in row["pixels"]]}

    def load(self, cache: Cache) -> datasets.DatasetDict:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / 8.0 - 1.0).astype("float32")
        features = datasets.Features(
            {"pixels": datasets.Array2D((8, 8), "float32"), "label": datasets.ClassLabel(names=list(self.labels))}
        )
        data = datasets.Dataset.from_dict({"pixels": images, "label": digits.target.tolist()}, features=features)
        return stratified_split(data, self.test_examples, seed=0)


TASK = Digits()
