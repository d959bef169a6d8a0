"""What an artifact says to the test examples, asked once of the same files by the same code on the same machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks.cache import content_hash, hash_files, versions
from benchmarks.measure import stages
from benchmarks.preparation.preparation import Preparation, label_of, once
from benchmarks.preparation.steadiness import noise, scored
from benchmarks.quality.scoring import Answers, Quality
from benchmarks.zoo.model import Model
from compressors import registry
from compressors.artifact import Artifact, file_hash
from compressors.build import code_of
from compressors.interface import Hardware
from compressors.runtimes.base import runtime

CUT_EXAMPLES = 256
"""Examples that are scored at another length than the usual one, to compare what is timed at that length."""
FLIP_BATCH = 1
"""The batch size at which the dense model is compared with itself."""


class Evaluation:
    """Evaluates what `prepared` makes, and gives the same answers, or the same error, ever after."""

    def __init__(self, prepared: Preparation) -> None:
        self.prepared = prepared
        self._answers: dict[str, Answers | Exception] = {}
        self._sketches: dict[str, np.ndarray | Exception] = {}

    def answers(
        self,
        artifact: Artifact,
        model: Model,
        hardware: Hardware,
        label: str,
        *,
        batch: int | None = None,
        first: int | None = None,
    ) -> Answers:
        """What the task keeps of an artifact's outputs on the test set: from the cache where these very files were
        evaluated before by the same code and libraries, with the same batches, on as many threads of the
        same kind. batch: another than the model's usual one. first: so many examples alone.
        Raises WorkerError or PressbenchError, the same again when asked again."""
        prepared, inputs = self.prepared, self.prepared.inputs_path(model)
        batch, quality = batch or model.evaluation_batch, model.task.quality
        manifest = artifact.manifest
        code = {file for step in artifact.recipe for file in _code_of_step(step)}
        key = {
            "files": artifact.digest,
            "runtime": [manifest["runtime"], manifest["options"]],
            "recipe": [{"compressor": s["compressor"], "parameters": s["parameters"]} for s in artifact.recipe],
            "examples": file_hash(inputs),
            "batch": batch,
            "first": first,
            "quality": dataclasses.asdict(quality),
            "code": hash_files({*code, *_code_of_answers(quality)}),
            "versions": versions(*runtime(manifest["runtime"]).requires, *_packages_of(artifact)),
            "fingerprint": prepared.fingerprint(hardware)["answers"],
        }

        def build(folder: Path) -> None:
            closed = prepared.enclosure(artifact.directory, inputs)
            with prepared.stage("evaluate", label) as report, prepared.worker(label, hardware, closed) as worker:
                limit = prepared.settings.stage_seconds
                worker.call(stages.load, artifact.directory, hardware, timeout=limit)
                if first is None:
                    found = scored(worker, quality, inputs, batch, limit, report)
                else:
                    found = worker.call(stages.answer, quality, inputs, batch, first, timeout=limit, progress=report)
            for kept, values in found.items():
                np.save(folder / f"{kept}.npy", values, allow_pickle=False)

        def make() -> Answers:
            entry = prepared.cache.build("answers", f"{model.name}-{manifest['runtime']}", key, build)
            return {path.stem: np.load(path, allow_pickle=False) for path in sorted(entry.glob("*.npy"))}

        return once(self._answers, content_hash(key), make)

    def sketches(
        self, artifact: Artifact, model: Model, hardware: Hardware, sequence: int | None
    ) -> tuple[np.ndarray, float]:
        """Of the artifact's scored answers, (examples, numbers), see `benchmarks.measure.sketch`, and how far they move
        with their batch. sequence: of texts cut to so many tokens, of the first examples alone where that is another
        length than the scored one."""
        prepared, usual = self.prepared, self.answers(artifact, model, hardware, f"{model.name}: {label_of(artifact)}")
        quality, path = model.task.quality, prepared.inputs_path(model)
        if type(quality).ask is Quality.ask and sequence in (None, _places(path)):
            return usual[stages.SKETCH], noise(usual)
        batch, rows = model.evaluation_batch, list(range(min(CUT_EXAMPLES, len(usual[stages.SKETCH]))))
        key = {
            "files": artifact.digest,
            "runtime": [artifact.manifest["runtime"], artifact.manifest["options"]],
            "examples": file_hash(path),
            "batch": batch,
            "sequence": sequence,
            "code": hash_files(registry.source_closure(stages.sketches, "benchmarks")),
            "versions": versions(*runtime(artifact.manifest["runtime"]).requires, *_packages_of(artifact)),
            "fingerprint": prepared.fingerprint(hardware)["answers"],
        }

        def build(folder: Path) -> None:
            closed, limit = prepared.enclosure(artifact.directory, path), prepared.settings.stage_seconds
            label = f"{model.name}: {label_of(artifact)} at {sequence} tokens"
            with prepared.stage("evaluate", label), prepared.worker(label, hardware, closed) as worker:
                worker.call(stages.load, artifact.directory, hardware, timeout=limit)
                found = worker.call(stages.sketches, path, rows, batch, sequence, timeout=limit)
            np.save(folder / "sketch.npy", found, allow_pickle=False)

        def make() -> np.ndarray:
            entry = prepared.cache.build("answers", f"{model.name}-cut", key, build)
            return np.load(entry / "sketch.npy", allow_pickle=False)

        found: np.ndarray = once(self._sketches, content_hash(key), make)
        return found, noise(usual)

    def flip_floor(self, model: Model, hardware: Hardware) -> tuple[dict[str, Any], str]:
        """How far the dense model's own answers move at another batch size, as numbers and in words: a drop of the
        same size would mean nothing beside it."""
        dense = self.prepared.dense(model).artifact
        usual = self.answers(dense, model, hardware, f"{model.name}: dense")
        usual = {name: values[: model.flip_examples] for name, values in usual.items()}
        label = f"{model.name}: dense at batch {FLIP_BATCH}"
        other = self.answers(dense, model, hardware, label, batch=FLIP_BATCH, first=model.flip_examples)
        found, words = model.task.quality.unsteadiness(usual, other)
        return {**found, "batch": FLIP_BATCH}, f"at batch {FLIP_BATCH} {words}"


def _places(path: Path) -> int | None:
    """How many places the first input of examples has: tokens of a text."""
    with safe_open(path, framework="numpy") as file:
        first = next(name for name in file.keys() if name.startswith("input:"))  # noqa: SIM118
        shape = file.get_slice(first).get_shape()
    return int(shape[1]) if len(shape) == 2 else None


def _code_of_answers(quality: Quality) -> set[str]:
    return {
        file for made in (stages.answer, scored, type(quality)) for file in registry.source_closure(made, "benchmarks")
    }


def _code_of_step(step: dict[str, Any]) -> list[str]:
    return code_of(registry.build(step["compressor"], step["parameters"]))


def _packages_of(artifact: Artifact) -> list[str]:
    """What the steps of its recipe take, beside its runtime: a library that reads packed weights."""
    steps = (registry.build(step["compressor"], step["parameters"]) for step in artifact.recipe)
    return sorted({package for step in steps for package in step.requires})
