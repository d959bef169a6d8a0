"""Chains of compressors, themselves compressors: the recipe is what every step adds up to.

The suite runs a pipeline step by step and keeps the artifact after each, so that two recipes with the
same beginning share that work. Each step must take what the one before it returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError

Chain = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
"""(compressor, ((parameter, value), …)) pairs."""


@dataclass(frozen=True)
class Pipeline(Compressor):
    """A chain written down as data: `chain` holds (compressor, ((parameter, value), …)) pairs.

    Subclass it and give `chain` a default to ship a named recipe; `--compressor a+b` makes one of two.
    """

    name: ClassVar[str] = "pipeline"
    family: ClassVar[str] = "pipeline"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # a bare pipeline has nothing to run

    chain: Chain = ()

    def __post_init__(self) -> None:
        # JSON has no tuples: a recipe read back from disk holds lists.
        object.__setattr__(self, "chain", tuple((n, tuple((k, v) for k, v in p)) for n, p in self.chain))

    @property
    def steps(self) -> tuple[Compressor, ...]:
        from compressors import registry

        steps = tuple(step for name, p in self.chain for step in registry.build(name, dict(p)).steps)
        for step, after in itertools.pairwise(steps):
            if step.closes:
                raise PressbenchError(f"{step.name} must be the last of a chain: {after.name} cannot follow it")
        return steps

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if not self.chain:
            return "the chain is empty: give it compressors, for example prune-magnitude"
        reasons = (step.supports(model, hardware) for step in self.steps)
        return next((r for r in reasons if r), None)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        structures = []
        result = Compressed(model)
        for step in self.steps:
            if result.runtime != step.takes:
                raise PressbenchError(f"{step.name} takes a {step.takes} model, not one of {result.runtime}")
            result = step.compress(result.model, context)
            structures.append(dict(result.structure))
        return Compressed(result.model, {"steps": structures}, result.runtime, result.options)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        for step, part in zip(self.steps, structure["steps"], strict=True):
            model = step.restructure(model, part)
        return model
