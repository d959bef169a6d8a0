"""vit-digits: a small vision Transformer trained here on scikit-learn's digits.

It is here to prove that nothing in the path assumes text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import torch
import transformers
from torch import nn

from benchmarks.cache import Cache
from benchmarks.zoo.model import Model
from benchmarks.zoo.owners_run import OwnersRun, by_calls
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.digits import TASK
from benchmarks.zoo.workload import Workload
from compressors.interface import Examples, Hardware, InputSpec, Progress
from compressors.training import supervised, train


@dataclass(frozen=True)
class VitDigits(Model):
    """8 × 8 pixels in patches of 2 × 2: 16 patches and the class token."""

    name: ClassVar[str] = "vit-digits"
    task: ClassVar[Task] = TASK
    inputs: ClassVar[Mapping[str, InputSpec]] = {"pixel_values": InputSpec("float32", ("batch", 1, 8, 8))}
    workloads: ClassVar[tuple[Workload, ...]] = (Workload(32),)
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (Workload(1), Workload(128))

    def config(self) -> dict[str, Any]:
        return {
            "model_type": "vit",
            "architectures": ["ViTForImageClassification"],
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 384,
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 1,
            "num_labels": len(TASK.labels),
        }

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        columns = data.with_format("torch")
        return Examples({"pixel_values": columns["pixels"][:].unsqueeze(1)}, columns["label"][:])

    def owners_run(self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache) -> OwnersRun:
        pictures = (
            {"pixel_values": torch.tensor(pixels, dtype=torch.float32)[None, None]} for pixels in rows["pixels"]
        )
        return by_calls(dense(), pictures, "logits")

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**self.config()))
        return train(
            model,
            examples,
            supervised,
            dataclasses.replace(hardware, features=frozenset()),  # bf16 costs this small model more than it saves
            epochs=30,
            learning_rate=1e-3,
            batch_size=64,
            weight_decay=0.05,
            progress=progress,
            what="training",
        )


MODEL = VitDigits()
