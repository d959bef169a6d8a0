"""What runs inside a worker: preparing, compressing, loading, predicting, counting."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.cache import Cache
from benchmarks.measure.products import Did, counted, nowhere
from benchmarks.measure.ring import Ring
from benchmarks.measure.sketch import sketch
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.dense import INPUTS, Dense, prepare_dense, read_examples, write_examples
from benchmarks.zoo.model import Model
from benchmarks.zoo.owners_run import EXAMPLES, OwnersRun
from benchmarks.zoo.workload import Kind, Workload
from compressors import build, recovery, registry
from compressors.artifact import open_artifact
from compressors.interface import Compressor, Context, Effect, Examples, Hardware, PressbenchError, Progress, Said
from compressors.runtimes.base import Forward, Inventory, runtime
from compressors.runtimes.executed import Executed
from compressors.witness import witness

State = dict[str, Any]


@dataclass(frozen=True)
class Counted:
    """What an artifact holds and executes, and the dense one: see `Inventory` and `Executed`. seen: what changed, in a
    few words each; fault: why that does not bear out the claimed effect, None where it does."""

    inventory: Inventory
    dense: Inventory
    executed: Executed | None
    dense_executed: Executed | None
    seen: list[str]
    fault: str | None


FOUND, SAID = "found.safetensors", "said.safetensors"
SKETCH = "sketch"
"""What the sketches of the outputs are kept as, beside what a quality keeps."""


def prepare(
    state: State, model: Model, root: Path, hardware: Hardware, folder: Path, *, progress: Progress, did: Did = nowhere
) -> None:  # fmt: skip
    """Train and write the dense entry."""
    with counted(did):
        prepare_dense(model, Cache(root), hardware, progress, folder)


def read_rows(state: State, model: Model, root: Path, folder: Path) -> None:
    """Keep in `folder` the test split as `model` reads it, without its answers."""
    splits = model.task.load(Cache(root))
    training, test = (model.encode(splits[name], Cache(root)) for name in ("train", "test"))
    write_examples(model.task.quality.veiled(test, training), folder / INPUTS)


def owners_run(state: State, model: Model, root: Path, dense: Path, hardware: Hardware) -> OwnersRun | None:
    """A few rows of the test split as the model's owner would run them; None where nobody says how."""
    rows = model.task.load(Cache(root))["test"][:EXAMPLES]
    torch.set_num_threads(hardware.threads)
    return model.owners_run(rows, Dense(dense).artifact.model, Cache(root))


@dataclass(frozen=True)
class Step:
    """One step of a recipe: a compressor by name and parameters, the artifact that it is run on, the entry of the dense
    model, where to keep the result, what it `found` before, and what the dense model `said`."""

    name: str
    parameters: Mapping[str, Any]
    source: Path
    dense: Path
    hardware: Hardware
    seed: int
    found: Path | None = None
    said: Path | None = None


def ask_dense(
    state: State, dense: Path, hardware: Hardware, folder: Path, *, progress: Progress, did: Did = nowhere
) -> None:  # fmt: skip
    """Keep in `folder` what the dense model says of the training data, as far as that is not too much."""
    entry = Dense(dense)
    with counted(did):
        said = recovery.said_of_all(entry.artifact.model().eval(), entry.training(), hardware, progress)
    save_file(said, folder / SAID)


def find(state: State, what: Step, folder: Path, *, progress: Progress, did: Did = nowhere) -> None:
    """Keep in `folder` what a step finds in its model."""
    step, context = _given(what, progress)
    with counted(did):
        save_file(build.find(step, open_artifact(what.source), context), folder / FOUND)


def compress(state: State, what: Step, folder: Path, *, progress: Progress, did: Did = nowhere) -> None:
    """Run a step and save the result in `folder`."""
    step, context = _given(what, progress)
    with counted(did):
        build.build_step(step, open_artifact(what.source), context, folder)


def _given(what: Step, progress: Progress) -> tuple[Compressor, Context]:
    """The compressor and its context. What the method writes to the current folder or as a temporary file goes when the
    worker does."""
    os.chdir(tempfile.gettempdir())
    entry = Dense(what.dense)
    step = registry.build(what.name, dict(what.parameters))
    training, said = entry.training(), {} if what.said is None else load_file(what.said / SAID)
    if "logits" in said and training.one_answer:
        training = dataclasses.replace(training, dense_logits=said["logits"].float())
    return step, Context(
        model=entry.artifact.spec,
        hardware=what.hardware,
        dense=entry.artifact.model,
        seed=what.seed,
        calibration=training[:128] if "calibration" in step.needs else None,
        training=training if "training" in step.needs else None,
        progress=progress,
        found=None if what.found is None else load_file(what.found / FOUND),
        said=Said(training, said) if said.keys() - {"logits"} else None,
    )


def import_runtime(state: State, directory: Path) -> None:
    """Import what the artifact's runtime needs: what is loaded then is the artifact alone."""
    for module in runtime(open_artifact(directory).manifest["runtime"]).requires:
        importlib.import_module(module)


def load(state: State, directory: Path, hardware: Hardware, kind: Kind = "forward") -> float:
    """Load an artifact from disk to do work of that kind; seconds it took."""
    started = time.perf_counter()
    state["device"] = hardware.device
    artifact = open_artifact(directory)
    if kind == "generate":
        state["writer"] = artifact.writer(device=hardware.device, threads=hardware.threads)
    elif kind != "forward":
        state["generator"] = artifact.generator(device=hardware.device, threads=hardware.threads)
    else:
        state["forward"] = artifact.load(device=hardware.device, threads=hardware.threads)
        manifest = artifact.manifest
        state["eager"] = runtime(manifest["runtime"]).eager and not manifest["options"].get("compile")
    return time.perf_counter() - started


def answer(
    state: State,
    quality: Quality,
    examples: Path,
    batch_size: int,
    first: int | None = None,
    *,
    progress: Progress,
    did: Did = nowhere,
) -> dict[str, np.ndarray]:
    """What `quality` keeps of the loaded artifact's outputs on all examples, or on the `first` ones, and under SKETCH a
    sketch of the outputs of the first pass.

    Raises PressbenchError where an output is not finite."""
    # A graph's layers are none of torch's, and what is compiled must not be with a hook in it.
    with counted(did) if state.get("eager") else contextlib.nullcontext():
        return _answers(state["forward"], quality, read_examples(examples)[:first], batch_size, progress)


def _answers(
    ask: Forward, quality: Quality, data: Examples, batch_size: int, progress: Progress
) -> dict[str, np.ndarray]:
    kept: dict[str, list[np.ndarray]] = {}
    bad: list[int] = []
    total, seen = -(-len(data) // batch_size), 0
    for number, batch in enumerate(data.batches(batch_size)):
        forward = _Watched(ask)
        outputs = quality.ask(forward, batch)
        bad += [seen + row for row in sorted(forward.bad)]
        seen += forward.rows
        if not bad:
            for name, values in {**quality.keep(outputs, batch), SKETCH: forward.sketch}.items():
                kept.setdefault(name, []).append(values)
        progress("evaluating", number + 1, total)
    if seen != len(data):
        raise PressbenchError(f"{seen} answers for {len(data)} examples")
    if bad:
        raise PressbenchError(f"logits are NaN or infinite for {len(bad)} of {len(data)} examples, first at {bad[0]}")
    return {name: np.concatenate(values) for name, values in kept.items()}


class _Watched:
    """A forward pass that notes how many rows it gave, and which of them were ever not finite. sketch: of the first."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.rows = 0
        self.bad: set[int] = set()
        self.sketch = np.empty((0, 0), np.float32)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        outputs = np.asarray(self._forward(inputs), dtype=np.float32)
        # A sum is not finite where one number is not: it finds the rows to look at, in a third of the time of looking.
        with np.errstate(over="ignore", invalid="ignore"):
            sums = outputs.reshape(len(outputs), -1).sum(axis=1)
        suspects = np.flatnonzero(~np.isfinite(sums)).tolist()
        self.bad.update(row for row in suspects if not np.isfinite(outputs[row]).all())
        self.rows = len(outputs)
        if not self.sketch.size:
            self.sketch = sketch(outputs, inputs.get("attention_mask"))
        return outputs


def sketches(
    state: State, examples: Path, rows: Sequence[int], batch_size: int, sequence: int | None = None
) -> np.ndarray:
    """(rows, numbers) of plain forward passes on these examples, in this order; texts cut to `sequence` tokens."""
    data = read_examples(examples)[torch.tensor(list(rows))]
    arrays = {name: values.numpy() for name, values in data.inputs.items()}
    if sequence:
        arrays = {n: np.ascontiguousarray(a[:, :sequence]) if a.ndim == 2 else a for n, a in arrays.items()}
    return _sketches(state, arrays, batch_size)


def drawn_again(
    state: State, examples: Path, workload: Workload, seed: int, calls: Sequence[tuple[int, int, int]], batch_size: int
) -> list[np.ndarray]:
    """Sketches of what timed calls were given, asked `batch_size` at a time. calls: of each its slot, how many timed
    calls that had, and its number among them."""
    ring = Ring(read_examples(examples), workload.batch, workload.sequence)
    return [
        _sketches(state, ring.batches(seed, slot, count + 1)[call], batch_size) for slot, count, call in calls
    ]  # fmt: skip


def _sketches(state: State, arrays: Mapping[str, np.ndarray], batch_size: int) -> np.ndarray:
    found = []
    for start in range(0, len(next(iter(arrays.values()))), batch_size):
        part = {name: values[start : start + batch_size] for name, values in arrays.items()}
        outputs = np.asarray(state["forward"](part), dtype=np.float32)
        found.append(sketch(outputs, part.get("attention_mask")))
    return np.concatenate(found)


def explain(state: State, prompts: np.ndarray, tokens: np.ndarray, start: int | None = None) -> np.ndarray:
    """(batch, tokens) how far each of the tokens that were made after the prompts is from the likeliest one, by forward
    passes over the whole: the difference of their logits in standard deviations over the vocabulary. 0 where it is the
    likeliest. prompts: (batch, length); tokens: (batch, count). start: the token that texts begin with which an
    encoder with a decoder writes of the prompts; None where they go on from the prompts."""
    found = []
    for prompt, made in zip(prompts, tokens, strict=True):  # one by one: a vocabulary a position is much
        before = prompt if start is None else np.array([start])
        ids = np.concatenate([before, made[:-1]])[None].astype(np.int64)
        if start is None:
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        else:
            read = prompt[None].astype(np.int64)
            inputs = {"input_ids": read, "attention_mask": np.ones_like(read), "decoder_input_ids": ids}
        logits = np.asarray(state["forward"](inputs), dtype=np.float32)[0, len(before) - 1 :]
        said = logits[np.arange(len(made)), made]
        found.append((logits.max(axis=-1) - said) / np.maximum(logits.std(axis=-1), 1e-12))
    return np.stack(found)


def count(
    state: State,
    dense: Path,
    directory: Path,
    effect: Effect | None,
    judged: bool,
    examples: tuple[Path, Path],
    workloads: tuple[Workload, Workload],
    dense_work: Executed | None,
) -> Counted:
    """What an artifact and the dense one hold and execute; and, of one that is `judged`, what changed between them and
    why that does not bear out `effect`, see `witness`. examples, workloads: of the dense one, and of the artifact.
    dense_work: what the dense one executes, which is the same beside every artifact."""
    reference, artifact = open_artifact(dense), open_artifact(directory)
    ours, inputs = (_few(path, workload) for path, workload in zip(examples, workloads, strict=True))
    itself = directory == dense and examples[0] == examples[1] and workloads[0] == workloads[1]
    work = (dense_work, dense_work if itself else artifact.executed(inputs))
    seen, fault = witness(reference, artifact, effect, (ours, inputs), work) if judged else ([], None)
    return Counted(artifact.inventory(), reference.inventory(), work[1], work[0], seen, fault)


def executed(state: State, directory: Path, examples: Path, workload: Workload) -> Executed | None:
    """What one pass executes by the shape of `workload`: of a decode the pass over one token, without what it reads of
    the tokens before."""
    return open_artifact(directory).executed(_few(examples, workload))


def _few(examples: Path, workload: Workload) -> dict[str, np.ndarray]:
    """Inputs of the workload's shape, from the examples."""
    data = read_examples(examples)
    rows = np.arange(workload.batch) % len(data)
    places = 1 if workload.kind == "decode" else workload.sequence
    arrays = {name: values.numpy()[rows] for name, values in data.inputs.items()}
    if places:
        # What is written token by token is as much work as one pass over it, but for what comes after each.
        made = {"decoder_input_ids": workload.new_tokens} if workload.kind == "generate" else {}
        cut = {name: made.get(name, places) for name in arrays}
        arrays = {name: np.ascontiguousarray(a[:, : cut[name]]) if a.ndim == 2 else a for name, a in arrays.items()}
    return arrays
