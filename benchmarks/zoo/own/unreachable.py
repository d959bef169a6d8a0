"""A declared model whose hub is out of reach: its cases exist, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
from torch import nn

from benchmarks.cache import Cache
from benchmarks.zoo.model import Model
from benchmarks.zoo.own.declaration import Declared
from benchmarks.zoo.own.kind import kinds
from benchmarks.zoo.own.understanding import workloads_of
from benchmarks.zoo.task import Task
from benchmarks.zoo.workload import Workload
from compressors.interface import (
    Examples,
    Hardware,
    InputSpec,
    PressbenchError,
    Progress,
    Unsupported,
    no_progress,
)  # fmt: skip

TOKENS = 128
"""Of a workload whose length would be found from the data."""


@dataclass(frozen=True)
class OutOfReach:
    """What stands where an asset would, and tells why it is not to be had."""

    name: str
    reason: str

    def folder(self, cache: Cache, progress: Progress = no_progress) -> Path:
        """Raises Unsupported."""
        raise Unsupported(self.reason)

    def identity(self) -> dict[str, Any]:
        """Never a key: nothing is made of it."""
        raise Unsupported(self.reason)


@dataclass(frozen=True, kw_only=True)
class UnreachableTask(Task):
    """A task of which the name is known."""

    name: str  # type: ignore[misc]
    test_examples: int = 10**6  # type: ignore[misc]

    def load(self, cache: Cache) -> datasets.DatasetDict:
        raise PressbenchError(f"{self.name}: out of reach")


@dataclass(frozen=True, kw_only=True)
class UnreachableModel(Model):
    """Its assets raise Unsupported before anything else is asked of it."""

    name: str  # type: ignore[misc]
    task: UnreachableTask  # type: ignore[misc]
    workloads: tuple[Workload, ...]  # type: ignore[misc]
    nightly_workloads: tuple[Workload, ...]  # type: ignore[misc]
    assets: tuple[OutOfReach, ...]  # type: ignore[misc]
    inputs: ClassVar[Mapping[str, InputSpec]] = {}

    @classmethod
    def of(cls, declared: Declared, reason: str) -> UnreachableModel:
        """reason: one line."""
        said = declared.said
        kind = kinds().get(said.task or "")
        settings = {"tokens": said.tokens or TOKENS}
        usual, nightly = workloads_of(said, kind, settings) if kind else ((Workload(8, TOKENS),), ())
        return cls(
            name=declared.name,
            task=UnreachableTask(name=said.task or "unknown"),
            workloads=usual,
            nightly_workloads=nightly,
            assets=(OutOfReach(said.model, reason),),
        )

    def config(self) -> dict[str, Any]:
        raise Unsupported(self.assets[0].reason)

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        raise Unsupported(self.assets[0].reason)

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        raise Unsupported(self.assets[0].reason)
