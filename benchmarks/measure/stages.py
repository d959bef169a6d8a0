"""What runs inside a worker: preparing, compressing, loading, predicting, timing, counting memory."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import Cache
from benchmarks.zoo.dense import Dense, prepare_dense, read_examples
from benchmarks.zoo.model import Model, Workload
from compressors import registry
from compressors.artifact import open_artifact
from compressors.build import build_step
from compressors.conformance import witness
from compressors.interface import Context, Effect, Examples, Hardware, PressbenchError, Progress
from compressors.runtimes.base import Inventory, runtime

State = dict[str, Any]
SLOT_SECONDS = 0.005
"""A slot lasts at least this long, so that the clock's own resolution does not show."""


def prepare(state: State, model: Model, root: Path, hardware: Hardware, folder: Path, *, progress: Progress) -> None:
    """Train and write the dense entry."""
    prepare_dense(model, Cache(root), hardware, progress, folder)


def compress(
    state: State, name: str, parameters: dict[str, Any], source: Path, dense: Path, hardware: Hardware, folder: Path,
    seed: int, *, progress: Progress,
) -> None:  # fmt: skip
    """Run one step of a recipe on the artifact in `source` and save the result in `folder`.

    What the method writes to the current folder or as a temporary file goes when the worker does."""
    os.chdir(tempfile.gettempdir())
    entry = Dense(dense)
    step = registry.build(name, parameters)
    training = entry.training()
    context = Context(
        model=entry.artifact.spec,
        hardware=hardware,
        dense=entry.artifact.model,
        seed=seed,
        calibration=training[:128] if "calibration" in step.needs else None,
        training=training if "training" in step.needs else None,
        progress=progress,
    )
    build_step(step, open_artifact(source), context, folder)


def import_runtime(state: State, directory: Path) -> int:
    """Import what the artifact's runtime needs and return the peak so far, in bytes: what a worker of that
    runtime takes while it is still empty."""
    for module in runtime(open_artifact(directory).manifest["runtime"]).requires:
        importlib.import_module(module)
    return peak_memory(state)


def load(state: State, directory: Path, hardware: Hardware) -> float:
    """Load an artifact from disk; seconds it took."""
    started = time.perf_counter()
    state["forward"] = open_artifact(directory).load(device=hardware.device, threads=hardware.threads)
    return time.perf_counter() - started


def predict(
    state: State, examples: Path, batch_size: int, first: int | None = None, *, progress: Progress
) -> np.ndarray:
    """The logits of the loaded artifact on all examples, or on the `first` ones, (examples, classes) float32.

    Raises PressbenchError where one of them is not finite."""
    data = read_examples(examples)[:first]
    found = []
    total = -(-len(data) // batch_size)
    for number, batch in enumerate(data.batches(batch_size)):
        found.append(np.asarray(state["forward"](_arrays(batch)), dtype=np.float32))
        progress("evaluating", number + 1, total)
    logits = np.concatenate(found)
    if len(logits) != len(data):
        raise PressbenchError(f"{len(logits)} answers for {len(data)} examples")
    if not np.isfinite(logits).all():
        rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        raise PressbenchError(f"logits are NaN or infinite for {len(rows)} of {len(data)} examples, first at {rows[0]}")
    return logits


def _arrays(batch: Examples) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in batch.inputs.items()}


def set_workload(state: State, examples: Path, workload: Workload) -> None:
    """Take the first `batch` examples (over again where there are fewer) as the input to be timed."""
    data = read_examples(examples)
    index = np.arange(workload.batch) % len(data)
    arrays = {name: values.numpy()[index] for name, values in data.inputs.items()}
    if workload.sequence:
        arrays = {name: np.ascontiguousarray(a[:, : workload.sequence]) for name, a in arrays.items()}
        short = next(iter(arrays.values())).shape[1]
        if short != workload.sequence:
            raise PressbenchError(f"workload {workload.name} wants {workload.sequence} tokens, the data has {short}")
    state["inputs"] = arrays


def calls_per_slot(state: State) -> int:
    """How many calls make a slot last long enough: from the fastest of three after a warm-up of two, or 1
    where the second call alone was far longer than a slot need be."""
    forward, inputs = state["forward"], state["inputs"]
    gc.collect()
    gc.freeze()  # or a later collection walks all that the imports made: 250 ms within one slot of every process
    times = []
    for _ in range(5):
        started = time.perf_counter()
        forward(inputs)
        times.append(time.perf_counter() - started)
        if len(times) == 2 and times[1] > 4 * SLOT_SECONDS:
            return 1
    return max(1, int(np.ceil(SLOT_SECONDS / min(times[2:]))))


def slot(state: State, calls: int) -> float:
    """One untimed call, which restores this worker's own caches, then `calls` timed ones: mean seconds a call."""
    forward, inputs = state["forward"], state["inputs"]
    forward(inputs)
    started = time.perf_counter()
    for _ in range(calls):
        forward(inputs)
    return (time.perf_counter() - started) / calls


def forward_once(state: State) -> None:
    """One untimed forward pass."""
    state["forward"](state["inputs"])


def count(
    state: State, dense: Path, directory: Path, effect: Effect | None
) -> tuple[Inventory, Inventory, list[str], str | None]:  # fmt: skip
    """What an artifact and the dense one hold; what changed between them; and why that does not bear out `effect`,
    None where it does or where nothing is claimed."""
    reference, artifact = open_artifact(dense), open_artifact(directory)
    seen, fault = witness(reference, artifact, effect) if effect else ([], None)
    return artifact.inventory(), reference.inventory(), seen, fault


def peak_memory(state: State) -> int:
    """The largest resident set this process has had so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
