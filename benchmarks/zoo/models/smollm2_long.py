"""smollm2-bbc-2048: the language model on long texts, for what attention costs and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.zoo.assets import smollm2
from benchmarks.zoo.models.smollm2_bbc import Smollm2Bbc
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.bbc_long_text import TASK
from benchmarks.zoo.wheel import WheelAsset
from benchmarks.zoo.workload import Workload, decode, prefill

CONTEXT = 2048


@dataclass(frozen=True)
class Smollm2Long(Smollm2Bbc):
    """Perplexity of texts of 2,048 tokens, joined from documents that are shorter. The weights are those of
    smollm2-bbc."""

    name: ClassVar[str] = "smollm2-bbc-2048"
    context: ClassVar[int] = CONTEXT
    task: ClassVar[Task] = TASK
    workloads: ClassVar[tuple[Workload, ...]] = (prefill(1, CONTEXT), decode(1, CONTEXT, 16))
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (  # for curves over length
        prefill(1, 256), prefill(1, 512), prefill(1, 1024), decode(1, 512, 16), decode(1, 1024, 16),
    )  # fmt: skip
    memory_workload: ClassVar[Workload | None] = Workload(1, CONTEXT)
    assets: ClassVar[tuple[WheelAsset, ...]] = (smollm2.ASSET, *TASK.assets)
    also: ClassVar[tuple[str, ...]] = ()
    asked_alone: ClassVar[bool] = True
    evaluation_batch: ClassVar[int] = 1
    flip_examples: ClassVar[int] = 4


MODEL = Smollm2Long()
