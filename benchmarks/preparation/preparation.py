"""What cases share, each made once: the dense model, its predictions, the artifacts by recipe, so that a
pipeline finds its beginning ready."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import Cache, content_hash, damage, hash_files, versions
from benchmarks.hardware import select
from benchmarks.hardware.devices.cpu import physical_cpus
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.measure import stages
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.quality.scoring import Answers, Quality
from benchmarks.zoo.dense import Dense, dense_key
from benchmarks.zoo.model import Model
from compressors import registry
from compressors.artifact import Artifact, ArtifactError, file_hash, open_artifact
from compressors.build import code_of, step_entry
from compressors.interface import Compressor, Hardware, PressbenchError, Unsupported
from compressors.runtimes.base import runtime

FLIP_BATCH = 1
"""The batch size at which the dense model is compared with itself."""


class Preparation:
    """Makes what is asked for the first time, and gives the same answer, or the same error, ever after."""

    def __init__(self, cache: Cache, settings: Settings, stage: Stages) -> None:
        self.cache, self.settings, self.stage = cache, settings, stage
        self._dense: dict[str, Dense | Exception] = {}
        self._artifacts: dict[tuple[str, str, str], Artifact | Exception] = {}
        self._answers: dict[str, Answers | Exception] = {}
        self._fingerprints: dict[str, dict[str, Any]] = {}

    def dense(self, model: Model) -> Dense:
        """The prepared dense side of a model, trained on this machine's CPU whatever it is compared on.
        Raises Unsupported where its assets cannot be had."""
        hardware = select("cpu")

        def make() -> Dense:
            def build(folder: Path) -> None:
                with self.worker(f"dense {model.name}", hardware) as worker:
                    worker.call(
                        stages.prepare, model, self.cache.root, hardware, folder,
                        timeout=self.settings.stage_seconds, progress=report,
                    )  # fmt: skip

            for asset in model.assets:
                with self.stage("assets", f"{model.name}: {asset.name}") as report:
                    try:
                        asset.folder(self.cache, report)
                    except PressbenchError as error:
                        raise Unsupported(str(error)) from None
            with self.stage("dense model", f"{model.name}: dense model") as report:
                return Dense(self.cache.build("dense", model.name, dense_key(model, hardware), build))

        return _once(self._dense, model.name, make)

    def artifact(self, compressor: Compressor, model: Model, hardware: Hardware) -> Artifact:
        """The compressed artifact, from the cache or made now, step by step. Raises Unsupported,
        WorkerError or PressbenchError, the same again when asked again."""
        dense = self.dense(model)
        steps = compressor.steps
        key = (content_hash([step_entry(s) for s in steps]), model.name, hardware.name)

        def make() -> Artifact:
            if reason := registry.unsupported_reason(compressor, model.spec(), hardware):
                raise Unsupported(reason)
            current = dense.artifact
            for number in range(len(steps)):
                current = self._step(steps[: number + 1], current, dense, model, hardware)
            return current

        return _once(self._artifacts, key, make)

    def _step(
        self, recipe: tuple[Compressor, ...], source: Artifact, dense: Dense, model: Model, hardware: Hardware
    ) -> Artifact:
        step = recipe[-1]
        label = "+".join(s.name for s in recipe)
        key = {
            "dense": dense.identity,
            "source": source.digest,
            "recipe": [step_entry(s) for s in recipe],
            "code": hash_files(code_of(step)),
            "versions": versions("torch", "transformers", *step.requires),
            "features": sorted(hardware.features),
            "device": hardware.device,
            "seed": self.settings.seed,
        }

        def make(folder: Path) -> None:
            name = f"{label} on {model.name}"
            try:
                with self.worker(name, hardware) as worker:
                    worker.call(
                        stages.compress, step.name, step.parameters, source.directory, dense.entry, hardware, folder,
                        self.settings.seed, timeout=self.settings.stage_seconds, progress=report,
                    )  # fmt: skip
            finally:  # a method that fails may have written before
                self._unharmed(name, source, dense, model)

        with self.stage("compress", f"{model.name}: {label}") as report:
            return open_artifact(self.cache.build("artifacts", f"{model.name}-{label}", key, make))

    def _unharmed(self, name: str, source: Artifact, dense: Dense, model: Model) -> None:
        """Raises PressbenchError where what a method was given is not what it was. Nothing that was made from it
        later would be comparable, so a dense model that was written to is made again."""
        if fault := damage(dense.entry):
            self._dense.pop(model.name, None)
            for key in [k for k in self._artifacts if k[1] == model.name]:
                del self._artifacts[key]
            raise PressbenchError(f"{name}: wrote to what it was given to read: {dense.entry}: {fault}")
        if dense.entry in source.directory.parents:
            return
        try:
            open_artifact(source.directory)
        except ArtifactError as error:
            raise PressbenchError(f"{name}: wrote to what it was given to read: {error}") from None

    def worker(self, name: str, hardware: Hardware) -> Worker:
        return Worker(name, cpus=cpus_of(hardware), threads=hardware.threads, memory_limit=self.settings.memory_limit)

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
        evaluated before by the same code and libraries, with the same batches, on a machine of the same
        fingerprint. batch: another than the model's usual one. first: so many examples alone.
        Raises WorkerError or PressbenchError, the same again when asked again."""
        dense = self.dense(model)
        batch, quality = batch or model.evaluation_batch, model.task.quality
        manifest = artifact.manifest
        code = {file for step in artifact.recipe for file in _code_of_step(step)}
        key = {
            "files": artifact.digest,
            "runtime": [manifest["runtime"], manifest["options"]],
            "recipe": [{"compressor": s["compressor"], "parameters": s["parameters"]} for s in artifact.recipe],
            "examples": file_hash(dense.test_path),
            "batch": batch,
            "first": first,
            "quality": dataclasses.asdict(quality),
            "code": hash_files({*code, *_code_of_answers(quality)}),
            "versions": versions(*runtime(manifest["runtime"]).requires),
            "fingerprint": self.fingerprint(hardware)["hash"],
        }

        def build(folder: Path) -> None:
            with self.stage("evaluate", label) as report, self.worker(label, hardware) as worker:
                limit = self.settings.stage_seconds
                worker.call(stages.load, artifact.directory, hardware, timeout=limit)
                found = worker.call(
                    stages.answer, quality, dense.test_path, batch, first, timeout=limit, progress=report
                )
            for kept, values in found.items():
                np.save(folder / f"{kept}.npy", values, allow_pickle=False)

        def make() -> Answers:
            entry = self.cache.build("answers", f"{model.name}-{manifest['runtime']}", key, build)
            return {path.stem: np.load(path, allow_pickle=False) for path in sorted(entry.glob("*.npy"))}

        return _once(self._answers, content_hash(key), make)

    def flip_floor(self, model: Model, hardware: Hardware) -> tuple[dict[str, Any], str]:
        """How far the dense model's own answers move at another batch size, as numbers and in words: a drop of the
        same size would mean nothing beside it."""
        dense = self.dense(model).artifact
        usual = self.answers(dense, model, hardware, f"{model.name}: dense")
        usual = {name: values[: model.flip_examples] for name, values in usual.items()}
        label = f"{model.name}: dense at batch {FLIP_BATCH}"
        other = self.answers(dense, model, hardware, label, batch=FLIP_BATCH, first=model.flip_examples)
        found, words = model.task.quality.unsteadiness(usual, other)
        return {**found, "batch": FLIP_BATCH}, f"at batch {FLIP_BATCH} {words}"

    def fingerprint(self, hardware: Hardware) -> dict[str, Any]:
        """The machine as it was when the run first asked."""
        if hardware.name not in self._fingerprints:
            self._fingerprints[hardware.name] = fingerprint(hardware)
        return self._fingerprints[hardware.name]


def cpus_of(hardware: Hardware) -> list[int]:
    """The processors a worker for this hardware is bound to: one a thread, each its own core."""
    return physical_cpus()[: hardware.threads] if hardware.device == "cpu" else physical_cpus()


def _code_of_answers(quality: Quality) -> set[str]:
    return {file for made in (stages.answer, type(quality)) for file in registry.source_closure(made, "benchmarks")}


def _code_of_step(step: dict[str, Any]) -> list[str]:
    return code_of(registry.build(step["compressor"], step["parameters"]))


def _once(known: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """`make()` the first time, then the same answer or the same error again: a method that fails after
    a minute is not tried three times."""
    if key not in known:
        try:
            known[key] = make()
        except (PressbenchError, WorkerError) as error:
            known[key] = error
    if isinstance(known[key], Exception):
        raise known[key]
    return known[key]
