"""What runs inside a worker: preparing, compressing, loading, predicting, timing, counting memory."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import Cache
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.dense import Dense, prepare_dense, read_examples
from benchmarks.zoo.model import Model
from benchmarks.zoo.workload import Workload
from compressors import registry
from compressors.artifact import open_artifact
from compressors.build import build_step
from compressors.conformance import witness
from compressors.interface import Context, Effect, Examples, Hardware, PressbenchError, Progress
from compressors.runtimes.base import Forward, Inventory, runtime

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


def load(state: State, directory: Path, hardware: Hardware, generates: bool = False) -> float:
    """Load an artifact from disk, with a key-value cache where it `generates`; seconds it took."""
    started = time.perf_counter()
    artifact = open_artifact(directory)
    if generates:
        state["generator"] = artifact.generator(device=hardware.device, threads=hardware.threads)
    else:
        state["forward"] = artifact.load(device=hardware.device, threads=hardware.threads)
    return time.perf_counter() - started


def answer(
    state: State, quality: Quality, examples: Path, batch_size: int, first: int | None = None, *, progress: Progress
) -> dict[str, np.ndarray]:
    """What `quality` keeps of the loaded artifact's outputs on all examples, or on the `first` ones.

    Raises PressbenchError where an output is not finite."""
    data = read_examples(examples)[:first]
    kept: dict[str, list[np.ndarray]] = {}
    bad: list[int] = []
    total, seen = -(-len(data) // batch_size), 0
    for number, batch in enumerate(data.batches(batch_size)):
        forward = _Watched(state["forward"])
        outputs = quality.ask(forward, batch)
        bad += [seen + row for row in sorted(forward.bad)]
        seen += forward.rows
        if not bad:
            for name, values in quality.keep(outputs, batch).items():
                kept.setdefault(name, []).append(values)
        progress("evaluating", number + 1, total)
    if seen != len(data):
        raise PressbenchError(f"{seen} answers for {len(data)} examples")
    if bad:
        raise PressbenchError(f"logits are NaN or infinite for {len(bad)} of {len(data)} examples, first at {bad[0]}")
    return {name: np.concatenate(values) for name, values in kept.items()}


class _Watched:
    """A forward pass that notes how many rows it gave, and which of them were ever not finite."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.rows = 0
        self.bad: set[int] = set()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        outputs = np.asarray(self._forward(inputs), dtype=np.float32)
        # A sum is not finite where one number is not: it finds the rows to look at, in a third of the time of looking.
        with np.errstate(over="ignore", invalid="ignore"):
            sums = outputs.reshape(len(outputs), -1).sum(axis=1)
        suspects = np.flatnonzero(~np.isfinite(sums)).tolist()
        self.bad.update(row for row in suspects if not np.isfinite(outputs[row]).all())
        self.rows = len(outputs)
        return outputs


def set_workload(state: State, examples: Path, workload: Workload) -> None:
    """Make ready the call to be timed, on the first `batch` examples (over again where there are fewer), or on
    prompts of the length asked for, cut from the examples one after another."""
    data = read_examples(examples)
    if workload.generates:
        assert workload.sequence is not None
        generator, prompts = state["generator"], _prompts(data, workload.batch, workload.sequence)
        if workload.kind == "prefill":
            state["call"] = lambda: generator.prefill(prompts)
        else:
            first = generator.prefill(prompts)
            state["before"] = generator.rewind
            state["call"] = lambda: generator.decode(first, workload.new_tokens)
        return
    index = np.arange(workload.batch) % len(data)
    arrays = {name: values.numpy()[index] for name, values in data.inputs.items()}
    if workload.sequence:
        arrays = {name: np.ascontiguousarray(a[:, : workload.sequence]) for name, a in arrays.items()}
        short = next(iter(arrays.values())).shape[1]
        if short != workload.sequence:
            raise PressbenchError(f"workload {workload.name} wants {workload.sequence} tokens, the data has {short}")
    forward = state["forward"]
    state["call"] = lambda: forward(arrays)


def _prompts(data: Examples, batch: int, tokens: int) -> np.ndarray:
    """(batch, tokens) int64: the examples' tokens in one row, without padding, cut into equal pieces."""
    ids, mask = data.inputs["input_ids"], data.inputs.get("attention_mask")
    row = (ids.flatten() if mask is None else ids[mask.bool()]).numpy()
    return np.resize(row, (batch, tokens))  # from the start again where there are too few


def calls_per_slot(state: State) -> int:
    """How many calls make a slot last long enough: from the fastest of three after a warm-up of two, or 1
    where the second call alone was far longer than a slot need be."""
    gc.collect()
    gc.freeze()  # or a later collection walks all that the imports made: 250 ms within one slot of every process
    times = []
    for _ in range(5):
        times.append(_timed(state, 1))
        if len(times) == 2 and times[1] > 4 * SLOT_SECONDS:
            return 1
    return max(1, int(np.ceil(SLOT_SECONDS / min(times[2:]))))


def slot(state: State, calls: int) -> float:
    """One untimed call, which restores this worker's own caches, then `calls` timed ones: mean seconds a call."""
    state["call"]()
    return _timed(state, calls) / calls


def _timed(state: State, calls: int) -> float:
    """Seconds of so many calls, without what is to be done before each of them."""
    call, before = state["call"], state.get("before")
    if before is None:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - started
    seconds = 0.0
    for _ in range(calls):
        before()
        started = time.perf_counter()
        call()
        seconds += time.perf_counter() - started
    return seconds


def bytes_read(state: State) -> int:
    """Bytes that the loaded generator has to read for the first token after the prompts."""
    return int(state["generator"].bytes_read())


def call_once(state: State) -> np.ndarray:
    """One untimed call: the outputs of a forward pass, or the tokens of a prefill or a decode."""
    return np.asarray(state["call"]())


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
