"""A model and a task that were declared, in the form of the zoo's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from torch import nn

from benchmarks.cache import SEAL, Cache, hash_files
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.model import Asset, Model
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError, check_stored, identity, weight_files
from benchmarks.zoo.own.kind import Kind, kinds
from benchmarks.zoo.owners_run import OwnersRun
from benchmarks.zoo.task import Task
from benchmarks.zoo.workload import Workload
from compressors import install
from compressors.accounting import account
from compressors.artifact import file_hash
from compressors.given.forms import folder as quantized
from compressors.interface import (
    Compressed,
    Examples,
    Hardware,
    InputSpec,
    PressbenchError,
    Progress,
    Unsupported,
    no_progress,
)
from compressors.registry import source_closure
from compressors.skeleton import skeleton

SPLITS = "splits"
"""The folder of a data entry that holds the rows."""


@dataclass(frozen=True)
class LocalWeights:
    """A folder of the user's."""

    name: str
    path: Path

    def folder(self, cache: Cache, progress: Progress = no_progress) -> Path:
        return self.path

    def identity(self) -> dict[str, Any]:
        """What decides the content."""
        return identity(self.path)


@dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """Rows that were read, checked and split before: they lie in a data entry of the cache."""

    name: str  # type: ignore[misc]
    kind: str
    settings: Mapping[str, Any]
    folder: Path
    entry: Path
    quote: bool
    labels: tuple[str, ...]  # type: ignore[misc]
    test_examples: int  # type: ignore[misc]

    @property
    def quality(self) -> Quality:  # type: ignore[override]
        return self.of_kind.quality(self.settings, self.folder)

    @property
    def of_kind(self) -> Kind:
        return kinds()[self.kind]

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.of_kind.shown(row) if self.quote else {}

    def load(self, cache: Cache) -> datasets.DatasetDict:
        return datasets.load_from_disk(str(self.entry / SPLITS), keep_in_memory=True)


@dataclass(frozen=True, kw_only=True)
class OwnModel(Model):
    """A model as it was fine-tuned elsewhere. Nothing is trained.

    weights: where they are. folder: of its small files, as the configuration and the tokenizer. understood: what was
    made of the declaration, for people and records."""

    name: str  # type: ignore[misc]
    task: OwnTask  # type: ignore[misc]
    inputs: Mapping[str, InputSpec]  # type: ignore[misc]
    workloads: tuple[Workload, ...]  # type: ignore[misc]
    nightly_workloads: tuple[Workload, ...]  # type: ignore[misc]
    memory_workload: Workload | None  # type: ignore[misc]
    evaluation_batch: int  # type: ignore[misc]
    also: tuple[str, ...]  # type: ignore[misc]
    flip_examples: int  # type: ignore[misc]
    said: str
    configuration: Mapping[str, Any]
    weights: Asset
    folder: Path
    allow_pickle: bool
    understood: Mapping[str, Any]
    stands_in: str | None = None  # type: ignore[misc]
    tokens_made: float = 1.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        remote = not isinstance(self.weights, LocalWeights)
        object.__setattr__(self, "assets", (self.weights,) if remote else ())

    def config(self) -> dict[str, Any]:
        return dict(self.configuration)

    def identity(self) -> dict[str, Any]:
        code = hash_files(source_closure(type(self.task.of_kind), "benchmarks"))
        data = file_hash(self.task.entry / SEAL)
        return {"weights": self.weights.identity(), "code": code, "data": data, "config": self.config()}

    def origin(self) -> dict[str, Any]:
        return {"weights": self.weights.identity(), "config": self.config()}

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        rows = {name: data[name][:] for name in data.column_names}
        return self.task.of_kind.encode(rows, self.folder, self.task.settings)

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache
    ) -> OwnersRun | None:
        whole = self.weights.folder(cache)
        model = Checkpoint(self.said, self.folder, self.configuration, self.task.labels)
        return self.task.of_kind.owners_run(rows, whole, model, self.task.settings)

    def as_stored(self, cache: Cache) -> Compressed | None:
        if "quantization_config" not in self.configuration:
            return None
        folder, form = self.weights.folder(cache), quantized.FORM
        main = folder / quantized.CONFIG
        if missing := install.reason(self.said, form.needed(main, self.said)):
            raise Unsupported(missing)
        looked = form.look(main, self.said)
        return form.compressed(looked, form.fit(looked, self.spec(), {}, None), None, merged=False)

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        progress("reading the weights", 0, 1)
        folder, config = self.weights.folder(cache), self.config()
        cls: Any = getattr(transformers, config["architectures"][0])
        parsed = skeleton(config, device="meta").config
        files = weight_files(folder, self.said, allow_pickle=self.allow_pickle)
        if files[0].suffix == ".safetensors":  # those of a hub are here for the first time
            check_stored(files, self.said)
        try:
            loaded, told = cls.from_pretrained(
                folder, config=parsed, dtype=torch.float32, local_files_only=True, trust_remote_code=False,
                use_safetensors=files[0].suffix == ".safetensors", output_loading_info=True,
            )  # fmt: skip
        except PressbenchError:
            raise
        except Exception as error:  # of many kinds, down to those of Rust
            raise ModelError(f"{self.said}: its weights cannot be read: {' '.join(str(error).split())[:300]}") from None
        account(loaded, told, self.said, self.spec())
        progress("reading the weights", 1, 1)
        return loaded.eval()
