"""minilm-bbc-512: the classifier of minilm-bbc asked with four times as much of each document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from benchmarks.cache import Cache
from benchmarks.zoo.models.minilm_bbc import TOKENS, MiniLmBbc
from benchmarks.zoo.workload import Workload
from compressors.interface import Examples, Hardware, Progress


@dataclass(frozen=True)
class MiniLmLong(MiniLmBbc):
    """The first 512 tokens of each document, as many as the model has positions. It is fine-tuned as minilm-bbc is, on
    the first 128, which takes a quarter of the time: the positions behind them are known from its pre-training."""

    name: ClassVar[str] = "minilm-bbc-512"
    tokens: ClassVar[int] = 512
    workloads: ClassVar[tuple[Workload, ...]] = (Workload(1, 512),)
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (Workload(1, 128), Workload(1, 256), Workload(8, 512))
    asked_alone: ClassVar[bool] = True

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        cut = {name: values[:, :TOKENS] for name, values in examples.inputs.items()}
        return super().train(Examples(cut, examples.labels), cache, hardware, progress)


MODEL = MiniLmLong()
