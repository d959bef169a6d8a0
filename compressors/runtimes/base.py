"""The contract of a runtime: write a model to files, load those files back, say what is in them."""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors import install
from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.executed import Executed
from compressors.runtimes.generation import Generator
from compressors.runtimes.layers import Layer
from compressors.runtimes.writing import Writer

NO_WRITER = "keeps no key-value cache of an encoder with a decoder here: nothing is generated"
Forward = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""One forward pass: inputs by name, the scored output back (ModelSpec.output), first axis the example, float32."""


@dataclass(frozen=True)
class Inventory:
    """What an artifact holds, counted from its files and not from what anyone claims.

    parameters: weights of the model, counted at their logical shape (a packed 4-bit weight counts once), 0 where that
    is not known. nonzero: how many of these are not zero, None where that is not known. dtypes: storage type -> number
    of weights. operators: kinds of operators that compute (module types or graph operators) -> count. layers: layer of
    the model -> its bytes and parameters, which add up to the bytes of all stored tensors and to `parameters`.
    """

    parameters: int
    nonzero: int | None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)

    @property
    def claimed_bytes(self) -> int | None:
        """What the weights take by their storage types alone, sparsity not counted; None where a type's name does
        not tell its bits."""
        bits = {name: re.search(r"\d+(\.\d+)?", name) for name in self.dtypes}
        if not all(bits.values()):
            return None
        return int(sum(n * float(match[0]) for name, n in self.dtypes.items() if (match := bits[name])) / 8)


class Runtime(abc.ABC):
    """One runtime. Stateless: everything is in the files and the options."""

    name: ClassVar[str]
    requires: ClassVar[Mapping[str, str]] = {}
    emulates: ClassVar[bool] = False
    """Whether it can be held to fewer instructions than its processor has, see `Hardware.held_to`."""
    generates: ClassVar[bool] = False
    """Whether it has `generator`, for models that can be had with one."""
    generates_given: ClassVar[bool] = False
    """Whether it has `generator` for files that were made elsewhere alone: what is exported for it here keeps none."""
    writes: ClassVar[bool] = False
    """Whether it has `writer`, for encoders with a decoder."""
    eager: ClassVar[bool] = False
    """Whether a pass runs layer by layer as it is called, so that nothing is prepared for a size of batch."""
    step_by_step: ClassVar[str | None] = None
    """Of a runtime whose forward passes are made token by token, which is right for scoring and no pass to be timed: in
    a few words, how. None: a pass is a pass."""

    scored_alone: ClassVar[str | None] = None
    """Of a runtime that is here to be scored alone: what really runs such files, whose speed and memory it does not
    have."""

    @abc.abstractmethod
    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        """Write `model` as files into `directory`. What loading needs beside them goes into
        `manifest["payload"]` (JSON)."""

    @abc.abstractmethod
    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        """The model of an artifact in memory, in a form that can be changed and saved again."""

    @abc.abstractmethod
    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        """Make `model`, in memory, ready to run on `device` with `threads` threads."""

    @abc.abstractmethod
    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        """The same from the files of an artifact, in the way a user of the runtime would load them."""

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        """The same, with a key-value cache. Raises Unsupported where this runtime, or this model, has none."""
        raise Unsupported(f"{self.name} keeps no key-value cache here: no prefill and no decode")

    def writer(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Writer:
        """An encoder with a decoder that writes, with a cache. Raises Unsupported where this runtime, or this model,
        has none."""
        raise Unsupported(f"{self.name} {NO_WRITER}")

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        """What one forward pass on `inputs` executes; None where this runtime does not tell."""
        return None

    @abc.abstractmethod
    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        """Count what is in the files."""


@functools.cache
def runtime_classes() -> dict[str, type[Runtime]]:
    """Every runtime class by name."""
    from compressors.registry import discover

    return discover(Runtime, "compressors.runtimes", "pressbench.runtimes")[0]  # type: ignore[type-abstract]


def runtime(name: str) -> Runtime:
    """The runtime of that name; one line if it is unknown or its package is missing."""
    from compressors.registry import nearest

    found = runtime_classes()
    if name not in found:
        raise PressbenchError(f"unknown runtime {name!r}{nearest(name, found)}")
    if missing := install.reason(f"the runtime {name!r}", found[name].requires):
        raise PressbenchError(missing)
    return found[name]()
