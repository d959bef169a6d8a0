"""What a model of the zoo is: where it starts, how it reads a task's examples, how it is made dense."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import nn

from benchmarks.cache import Cache
from benchmarks.zoo.owners_run import OwnersRun
from benchmarks.zoo.task import Task
from benchmarks.zoo.workload import Workload
from compressors.interface import Compressed, Examples, Hardware, InputSpec, ModelSpec, Progress, no_progress

if TYPE_CHECKING:  # which takes a second, and is not wherever something is timed
    import datasets


class Asset(Protocol):
    """Files that have to be fetched."""

    @property
    def name(self) -> str:
        """As people are told it."""
        ...

    def folder(self, cache: Cache, progress: Progress = no_progress) -> Path:
        """The folder that holds the files. Raises PressbenchError in one line where they cannot be had."""
        ...

    def identity(self) -> dict[str, Any]:
        """What decides the content, for cache keys."""
        ...


@dataclass(frozen=True)
class Model(abc.ABC):
    """One model on one task. A subclass lives in one file of `zoo/models` and declares `MODEL`."""

    name: ClassVar[str]
    task: ClassVar[Task]
    inputs: ClassVar[Mapping[str, InputSpec]]
    workloads: ClassVar[tuple[Workload, ...]]
    """Timed in every tier, the first being the usual one."""
    memory_workload: ClassVar[Workload | None] = None
    """The forward pass in which memory is measured; None: the usual workload."""
    nightly_workloads: ClassVar[tuple[Workload, ...]] = ()
    assets: ClassVar[tuple[Asset, ...]] = ()
    """What has to be fetched for it, the task's data included."""
    also: ClassVar[tuple[str, ...]] = ()
    """Compressors of the nightly tier that this model has in the quick one too, by id."""
    evaluation_batch: ClassVar[int] = 16
    """Examples a batch when quality is measured. Pinned: another size flips a few predictions."""
    asked_alone: ClassVar[bool] = False
    """Whether it runs only where it is named: what is about one question would lengthen every run."""
    stands_in: ClassVar[str | None] = None
    """The model in whose place it is asked; None: it is nobody's stand-in."""
    tokens_made: ClassVar[float] = 1.0
    """Tokens that it makes of a text for each that the model makes in whose place it is asked."""
    flip_examples: ClassVar[int] = 256
    """On how many the dense model is compared with itself at another batch size."""

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """The transformers configuration with `architectures`, without touching the network or a file."""

    @abc.abstractmethod
    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        """A split of the task as the model's inputs and labels."""

    @abc.abstractmethod
    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        """The dense model, trained on `examples` with a fixed seed, in eval mode."""

    def as_stored(self, cache: Cache) -> Compressed | None:
        """The model as its files are, where `train` cannot make one of it: quantized, and run by a library. Nothing can
        be made from it then, and others are held against it as it is. None: `train` makes it."""
        return None

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache
    ) -> OwnersRun | None:
        """The first rows of the test split, by column, as its owner runs it, see `benchmarks.zoo.owners_run`. dense:
        loads the dense model, for one that was trained here and has no other owner. None: nobody says how."""
        return None

    def identity(self) -> dict[str, Any]:
        """What decides the dense model beside code and versions, for cache keys."""
        return {asset.name: asset.identity() for asset in self.assets}

    def origin(self) -> dict[str, Any]:
        """What it is made of, whatever the code that makes it: two models of one name differ in it."""
        return self.identity()

    def spec(self) -> ModelSpec:
        """What compressors are told of it."""
        return ModelSpec(self.name, self.config(), self.inputs, self.task.quality.output)

    def workloads_of(self, tier: str) -> tuple[Workload, ...]:
        """The workloads of a tier: quick, or nightly and full with more of them."""
        return self.workloads + (self.nightly_workloads if tier != "quick" else ())
