"""What cases share, each made once: the dense model and the artifacts by recipe, so that a pipeline finds its
beginning ready."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache, CacheError, content_hash, damage, hash_files, versions
from benchmarks.hardware import select
from benchmarks.hardware.devices.cpu import physical_cpus
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.measure import stages
from benchmarks.measure.enclosure import Enclosure
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.preparation import standing_in
from benchmarks.preparation.agreement import AGREED, NotShown, compare
from benchmarks.preparation.making import Makings
from benchmarks.preparation.memory import Memory, measured
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.zoo.dense import Dense, dense_key
from benchmarks.zoo.model import Model
from benchmarks.zoo.workload import Workload
from compressors import recovery, registry
from compressors.artifact import Artifact, ArtifactError, file_hash, open_artifact
from compressors.build import code_of, step_entry
from compressors.interface import Compressor, Hardware, PressbenchError, Unsupported
from compressors.runtimes.executed import Executed


class Preparation:
    """Makes what is asked for the first time, and gives the same answer, or the same error, ever after."""

    def __init__(self, cache: Cache, settings: Settings, stage: Stages) -> None:
        self.cache, self.settings, self.stage = cache, settings, stage
        self._dense: dict[str, Dense | Exception] = {}
        self.agreed: dict[str, dict[str, Any]] = {}
        """Model -> what came of comparing it with its owner's run."""
        self.makings = Makings()
        self._inputs: dict[str, Path] = {}
        self._said: dict[tuple[str, str], Path | Exception] = {}
        self._artifacts: dict[tuple[str, ...], Artifact | Exception] = {}
        self._executed: dict[tuple[str, str, str], Executed | None] = {}
        self._fingerprints: dict[str, dict[str, Any]] = {}
        self._measured_on: dict[str, dict[str, str]] = {}

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
                    except CacheError:
                        raise
                    except PressbenchError as error:
                        raise Unsupported(str(error)) from None
            with self.stage("dense model", f"{model.name}: dense model") as report:
                dense = Dense(self.cache.build("dense", model.name, dense_key(model, hardware), build))
            self.agreed[model.name] = self._agreed(model, dense, hardware)
            return dense

        return once(self._dense, model.name, make)

    def _agreed(self, model: Model, dense: Dense, hardware: Hardware) -> dict[str, Any]:
        """That the suite runs the model as its owner does, asked once; again in the next run where it could not be
        shown, which may have been for want of time or memory. Raises PressbenchError where it does not."""
        key = {
            "dense": dense.identity,
            "model": model.identity(),
            "batch": model.evaluation_batch,
            "code": hash_files(registry.source_closure(compare, "benchmarks")),
            "kind": hash_files(registry.source_closure(type(model), "benchmarks")),
            "versions": versions("torch", "transformers", "tokenizers"),
            "fingerprint": self.fingerprint(hardware)["answers"],
        }

        def build(folder: Path) -> None:
            limit, started = self.settings.stage_seconds, time.perf_counter()
            with (
                self.stage("owner's run", f"{model.name}: as its owner runs it"),
                self.worker(f"{model.name}: its owner's run", hardware) as owner,
                self.worker(f"{model.name}: dense", hardware) as ours,
            ):
                found = compare(
                    owner, ours, model, dense.entry, dense.artifact.directory, dense.inputs_path, self.cache.root,
                    hardware, limit,
                )  # fmt: skip
            found["seconds"] = round(time.perf_counter() - started, 3)
            if not found["shown"]:
                raise NotShown(found)
            (folder / AGREED).write_text(json.dumps(found), encoding="utf-8")

        try:
            entry = self.cache.build("agreement", model.name, key, build)
        except NotShown as error:
            return error.found
        return dict(json.loads((entry / AGREED).read_text(encoding="utf-8")))

    def inputs_path(self, model: Model) -> Path:
        """The test examples as that model is asked them."""
        if model.stands_in is None:
            return self.dense(model).inputs_path
        if model.name not in self._inputs:
            with self.worker(f"{model.name}: its inputs", select("cpu")) as worker:
                found = standing_in.inputs_of(model, self.cache, worker, self.settings.stage_seconds)
            self._inputs[model.name] = found
        return self._inputs[model.name]

    def artifact(
        self, compressor: Compressor, model: Model, hardware: Hardware, asked: Model | None = None
    ) -> Artifact:  # fmt: skip
        """The compressed artifact, from the cache or made now, step by step. asked: the model that it is, where that
        reads its inputs in its own way; it must answer as its owner's run does. Raises Unsupported, WorkerError or
        PressbenchError, the same again when asked again."""
        dense = self.dense(model)
        steps = compressor.steps
        key = (
            content_hash([step_entry(s) for s in steps]), model.name, hardware.name, asked.name if asked else ""
        )  # fmt: skip

        def make() -> Artifact:
            if reason := registry.unsupported_reason(compressor, model.spec(), hardware):
                raise Unsupported(reason)
            current = dense.artifact
            for number in range(len(steps)):
                current = self._step(steps[: number + 1], current, dense, model, hardware)
            if asked is not None:
                self.agreed[asked.name] = self._stands_in(asked, current, dense, hardware)
            return current

        return once(self._artifacts, key, make)

    def _stands_in(self, asked: Model, artifact: Artifact, dense: Dense, hardware: Hardware) -> dict[str, Any]:
        inputs, machine = self.inputs_path(asked), self.fingerprint(hardware)["answers"]
        with (
            self.stage("owner's run", f"{asked.name}: as its owner runs it"),
            self.worker(f"{asked.name}: its owner's run", hardware) as owner,
            self.worker(asked.name, hardware) as ours,
        ):
            return standing_in.agreed(
                asked, artifact, inputs, dense, self.cache, (owner, ours), hardware, machine,
                self.settings.stage_seconds,
            )  # fmt: skip

    def folder_of(self, digest: str | None) -> Path | None:
        """Where the artifact of that digest lies, if it was asked for and is still there."""
        made = (one for one in self._artifacts.values() if isinstance(one, Artifact) and one.digest == digest)
        return next((one.directory for one in made if one.directory.is_dir()), None)

    def _step(
        self, recipe: tuple[Compressor, ...], source: Artifact, dense: Dense, model: Model, hardware: Hardware
    ) -> Artifact:
        step = recipe[-1]
        label = "+".join(s.name for s in recipe)
        key = {
            "dense": dense.identity,
            "source": source.digest,
            "code": hash_files(code_of(step)),
            "versions": versions("torch", "transformers", *step.requires),
            "features": sorted(hardware.features),
            "device": hardware.device,
            "seed": self.settings.seed,
        }
        seed = self.settings.seed
        what = stages.Step(step.name, step.parameters, source.directory, dense.entry, hardware, seed)

        def made(kind: str, begun: Path, does: Callable[..., None], more: dict[str, Any]) -> Path:
            """An entry of that kind, by what a worker `does` in its folder; it goes on from what was `begun`."""
            fresh: list[Path] = []

            def make(folder: Path) -> None:
                name = f"{label} on {model.name}"
                fresh.append(folder)
                try:
                    known = [path for path in (what.found, what.said) if path]
                    given = (dense.artifact.directory, dense.training_path, *known, *map(Path, step.reads))
                    closed = self.enclosure(source.directory, *given, writable=folder)
                    with self.worker(name, dataclasses.replace(hardware, held_to=None), closed) as worker:
                        worker.call(does, what, folder, timeout=self.settings.stage_seconds, progress=report)
                finally:  # a method that fails may have written before
                    self._unharmed(name, source, dense, model)

            with self.stage("compress", f"{model.name}: {label}") as report:
                entry = self.cache.build(kind, f"{model.name}-{label}", {**key, **more}, make)
            self.makings.step(entry, begun, here=bool(fresh))
            return entry

        begun = source.directory
        if step.asks_dense:
            begun = self._dense_says(dense, model, hardware, begun)
            what = dataclasses.replace(what, said=begun)
        if (by := step.finds_by) is not None:
            begun = made(
                "found",
                begun,
                stages.find,
                {"compressor": step.name, "by": dict(by), "before": [step_entry(s) for s in recipe[:-1]]},
            )
            what = dataclasses.replace(what, found=begun)
        recipe_of = {"recipe": [step_entry(s) for s in recipe]}
        return open_artifact(made("artifacts", begun, stages.compress, recipe_of))

    def _dense_says(self, dense: Dense, model: Model, hardware: Hardware, begun: Path) -> Path:
        """What the dense model says of its training data, asked once for all methods that look at it; to each of them
        it counts as time that the artifact in `begun` took further."""
        fresh: list[Path] = []

        def build(folder: Path) -> None:
            fresh.append(folder)
            name = f"{model.name}: what the dense model says"
            with self.stage("compress", name) as report:
                closed = self.enclosure(dense.artifact.directory, dense.training_path, writable=folder)
                with self.worker(name, dataclasses.replace(hardware, held_to=None), closed) as worker:
                    worker.call(
                        stages.ask_dense, dense.entry, hardware, folder,
                        timeout=self.settings.stage_seconds, progress=report,
                    )  # fmt: skip

        def make() -> Path:
            key = {
                "dense": dense.identity,
                "code": hash_files(registry.source_closure(recovery.said_of_all)),
                "versions": versions("torch", "transformers"),
                "features": sorted(hardware.features),
            }
            return self.cache.build("said", model.name, key, build)

        entry: Path = once(self._said, (dense.identity, hardware.name), make)
        self.makings.step(entry, begun, here=bool(fresh))
        return entry

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

    def worker(self, name: str, hardware: Hardware, enclosure: Enclosure | None = None) -> Worker:
        """A worker for that hardware. enclosure: of one that is to run a method's code."""
        return Worker(
            name, cpus=cpus_of(hardware), threads=hardware.threads, memory_limit=self.settings.memory_limit,
            enclosure=enclosure, held_to=hardware.held_to, did=self.stage.did,
        )  # fmt: skip

    def executed(
        self, artifact: Artifact, inputs: Path, workload: Workload, hardware: Hardware
    ) -> Executed | None:  # fmt: skip
        """What one pass of that shape executes, see `benchmarks.measure.stages.executed`."""
        key = _pass_of(artifact, workload)
        if key not in self._executed:
            closed = self.enclosure(artifact.directory, inputs)
            with self.worker(label_of(artifact), hardware, closed) as worker:
                self._executed[key] = worker.call(
                    stages.executed, artifact.directory, inputs, workload, timeout=self.settings.stage_seconds
                )
        return self._executed[key]

    def counted(self, artifact: Artifact, workload: Workload, executed: Executed | None) -> None:
        """Keep what somebody else has counted: nobody need load the artifact for it again."""
        self._executed[_pass_of(artifact, workload)] = executed

    def memory(self, artifact: Artifact, inputs: Path, workload: Workload, hardware: Hardware, name: str) -> Memory:
        """What the artifact takes in a worker of its own."""
        closed, limit = self.enclosure(artifact.directory, inputs), self.settings.stage_seconds
        with self.worker(name, hardware, closed) as worker:
            return measured(worker, artifact.directory, inputs, workload, hardware, limit)

    def enclosure(self, *given: Path, writable: Path | None = None) -> Enclosure:
        """Of all that is kept, what was given alone."""
        return Enclosure(self.cache.kinds(), tuple(dict.fromkeys(given)), writable)

    def measured_on(self, model: Model) -> dict[str, str]:
        """Part -> hash, of what results are measured on, see `results.history.comparable.PARTS`: the model that was
        given or fetched, the inputs and labels in their order, and how they are scored."""
        if model.name not in self._measured_on:
            quality = model.task.quality
            how = {k: v for k, v in dataclasses.asdict(quality).items() if k != "tokenizer"}  # a folder of this machine
            self._measured_on[model.name] = {
                "model": content_hash(model.origin()),
                "examples": file_hash(self.dense(model).inputs_path),
                "metric": content_hash({"quality": type(quality).__name__, **how}),
            }
        return self._measured_on[model.name]

    def fingerprint(self, hardware: Hardware) -> dict[str, Any]:
        """The machine as it was when the run first asked."""
        if hardware.name not in self._fingerprints:
            self._fingerprints[hardware.name] = fingerprint(hardware)
        return self._fingerprints[hardware.name]


def cpus_of(hardware: Hardware) -> list[int]:
    """The processors a worker for this hardware is bound to: one a thread, each its own core."""
    return physical_cpus()[: hardware.threads] if hardware.device == "cpu" else physical_cpus()


def _pass_of(artifact: Artifact, workload: Workload) -> tuple[str, str, str]:
    return (artifact.digest, artifact.manifest["runtime"], workload.name)


def label_of(artifact: Artifact) -> str:
    """The names of its recipe's steps, `dense` where there are none."""
    return "+".join(step["compressor"] for step in artifact.recipe) or "dense"


def once(known: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
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
