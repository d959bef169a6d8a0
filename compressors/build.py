"""From a model on disk to a compressed model on disk, one step of a recipe at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressors import artifact
from compressors.artifact import Artifact
from compressors.interface import ANY, Compressed, Compressor, Context, PressbenchError
from compressors.registry import source_closure
from compressors.runtimes.base import runtime_classes


def step_entry(step: Compressor) -> dict[str, Any]:
    """A step as recipes and cache keys name it."""
    return {"compressor": step.name, "parameters": step.parameters}


def run_step(step: Compressor, source: Artifact, context: Context) -> tuple[Compressed, dict[str, Any]]:
    """Run one compressor on the model in `source`; its result in memory, and the entry for the recipe.

    The model is loaded from disk, so that a chain is the same whether its first steps were made just
    now or come from a cache. Raises PressbenchError where `source` is not of the runtime that the step takes.
    """
    _check_taken(step, source)
    model = None if step.takes == ANY else source.model()
    torch.manual_seed(context.seed)
    started = time.perf_counter()
    result = step.compress(model, context)
    seconds = time.perf_counter() - started
    entry = {**step_entry(step), "structure": dict(result.structure), "seconds": round(seconds, 3)}
    return result, {**entry, "told": dict(result.told)} if result.told else entry


def _check_taken(step: Compressor, source: Artifact) -> None:
    have = source.manifest["runtime"]
    if step.takes not in (have, ANY):
        made_by = source.recipe[-1]["compressor"] if source.recipe else "the dense model"
        raise PressbenchError(
            f"{step.name} takes a {step.takes} model and cannot follow {made_by}: that is one of {have}"
        )


def find(step: Compressor, source: Artifact, context: Context) -> dict[str, Tensor]:
    """What `step` finds in the model in `source`, as `run_step` would have it find by itself."""
    _check_taken(step, source)
    model = source.model()
    torch.manual_seed(context.seed)
    return {name: values.detach().clone() for name, values in step.find(model, context).items()}


def save_step(
    result: Compressed, entry: dict[str, Any], source: Artifact, context: Context, directory: Path
) -> Artifact:
    """Save what `run_step` returned."""
    return artifact.save(
        result.model,
        directory,
        context.model,
        recipe=[*source.recipe, entry],
        runtime_name=result.runtime,
        options=result.options,
    )


def code_of(step: Compressor) -> list[str]:
    """The files whose code decides what `build_step` makes of `step`: the method's own, that of what it runs within,
    and what saves the artifact. They go into cache keys."""
    writers: list[Any] = [build_step, *runtime_classes().values()]
    within = {file for part in step.parts for inner in part.steps for file in code_of(inner)}
    return sorted(within | {file for maker in (type(step), *step.helpers, *writers) for file in source_closure(maker)})


def build_step(step: Compressor, source: Artifact, context: Context, directory: Path) -> Artifact:
    """Run one compressor on the model in `source` and save the result in `directory`."""
    result, entry = run_step(step, source, context)
    return save_step(result, entry, source, context, directory)


def build(steps: Sequence[Compressor], source: Artifact, context: Context, directory: Path) -> Artifact:
    """Run the steps of a recipe one after another. The artifacts in between lie beside the last, under
    `directory`; without a step, `source` itself is the result."""
    for number, step in enumerate(steps):
        source = build_step(step, source, context, directory / f"step-{number}")
    return source
