"""One run of the suite: prepares what a case needs, measures it, judges it, writes its record.

Everything that can be shared between cases is made once: the dense model, its predictions and its
worker, the artifacts (by recipe, so that a pipeline finds its beginning ready), the best control.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import verdicts
from benchmarks.cache import Cache, content_hash, hash_files, versions
from benchmarks.cases import Case, role
from benchmarks.fingerprint import fingerprint
from benchmarks.hardware import select
from benchmarks.hardware.cpu import physical_cpus
from benchmarks.measure import speed, stages
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.progress import Stages
from benchmarks.verdicts import SpeedTest, Verdict
from benchmarks.zoo.dense import Dense, dense_key
from benchmarks.zoo.model import Model, Workload
from compressors import registry
from compressors.artifact import Artifact, ArtifactError, open_artifact
from compressors.build import code_of, step_entry
from compressors.interface import Compressor, Hardware, PressbenchError
from results.record import CaseRecord, Measure
from results.store import now

ALPHA = 0.01
"""Error rate of a speed verdict, each way."""


@dataclass(frozen=True)
class Settings:
    """What a run is asked for. tau: the machine's own deviation; 0 until it has been qualified."""

    tier: str = "quick"
    seed: int = 0
    stage_seconds: float = 900.0
    budget: speed.Budget = field(default_factory=speed.Budget)
    tau: float = 0.0


def parse_compressors(wanted: list[str] | None, tier: str) -> dict[str, Compressor]:
    """The compressors of a tier by id, or those that options name: an id, a class name,
    `name:key=value,…` for parameters of one's own, or several joined by `+` for a chain of them. One
    line for anything unknown."""
    if not wanted:
        return registry.variants(tier)
    chosen: dict[str, Compressor] = {}
    for text in wanted:
        links = [_named(part, tier) for part in text.split("+")]
        if len(links) == 1:
            chosen |= links[0]
        else:
            chain = tuple((c.name, tuple(c.parameters.items())) for link in links for c in link.values())
            chosen["+".join(i for link in links for i in link)] = registry.build("pipeline", {"chain": chain})
    return chosen


def _named(text: str, tier: str) -> dict[str, Compressor]:
    name, colon, rest = text.partition(":")
    if colon:
        # At a comma that a key follows: a value may be a list with commas of its own.
        parameters = dict(_parameter(text, part) for part in re.split(r",(?=\s*\w+=)", rest))
        return {"-".join([name, *(f"{k}={v}" for k, v in parameters.items())]): registry.build(name, parameters)}
    known = registry.variants("full")
    if name in known:
        return {name: known[name]}
    every = {i: c for i, c in registry.variants(tier).items() if c.name == name}
    if not every:
        raise PressbenchError(f"unknown compressor {name!r}{registry.nearest(name, known)}")
    return every


def _parameter(text: str, part: str) -> tuple[str, Any]:
    key, equals, value = part.partition("=")
    if not equals or not key.strip():
        raise PressbenchError(f"--compressor {text}: {part!r} is not key=value")
    try:
        return key.strip(), json.loads(value)
    except ValueError:  # a bare word is a string
        return key.strip(), value


class Unsupported(PressbenchError):
    """The case cannot run here, and that is no failure: the reason."""


@dataclass
class Session:
    """A run in progress. `run` is the id that records carry."""

    run: str
    cache: Cache
    settings: Settings
    stage: Stages

    def __post_init__(self) -> None:
        self._dense: dict[str, Dense | Exception] = {}
        self._artifacts: dict[tuple[str, str, str], Artifact | Exception] = {}
        self._predictions: dict[tuple[str, str], np.ndarray] = {}
        self._lanes: dict[tuple[str, str, str], speed.Lane] = {}
        self._controls: dict[tuple[str, str, str], speed.Lane | None] = {}
        self._fingerprints: dict[str, dict[str, Any]] = {}

    # -- what cases share ------------------------------------------------------------------------

    def dense(self, model: Model) -> Dense:
        """The prepared dense side of a model, trained on this machine's CPU whatever it is compared on.
        Raises Unsupported where its assets cannot be had."""
        hardware = select("cpu")

        def make() -> Dense:
            def build(folder: Path) -> None:
                with self._worker(f"dense {model.name}", hardware) as worker:
                    worker.call(
                        stages.prepare, model, self.cache.root, hardware, folder,
                        timeout=self.settings.stage_seconds, progress=report,
                    )  # fmt: skip

            for asset in model.assets:
                with self.stage("assets", f"{model.name}: {asset.name}"):
                    try:
                        asset.folder(self.cache)
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
            with self._worker(f"{label} on {model.name}", hardware) as worker:
                worker.call(
                    stages.compress, step.name, step.parameters, source.directory, dense.entry, hardware, folder,
                    self.settings.seed, timeout=self.settings.stage_seconds, progress=report,
                )  # fmt: skip

        with self.stage("compress", f"{model.name}: {label}") as report:
            return open_artifact(self.cache.build("artifacts", f"{model.name}-{label}", key, make))

    def _worker(self, name: str, hardware: Hardware) -> Worker:
        return Worker(name, cpus=self._cpus(hardware), threads=hardware.threads)

    def _cpus(self, hardware: Hardware) -> list[int]:
        return physical_cpus()[: hardware.threads] if hardware.device == "cpu" else physical_cpus()

    def _predict(self, artifact: Artifact, model: Model, dense: Dense, hardware: Hardware, label: str) -> np.ndarray:
        """Predicted classes, (examples,) int64."""
        with self.stage("evaluate", label) as report, self._worker(label, hardware) as worker:
            limit = self.settings.stage_seconds
            worker.call(stages.load, artifact.directory, hardware, timeout=limit)
            logits = worker.call(
                stages.predict, dense.test_path, model.evaluation_batch, timeout=limit, progress=report
            )
        return np.asarray(logits.argmax(axis=1))

    def _dense_predictions(self, model: Model, hardware: Hardware) -> np.ndarray:
        dense = self.dense(model)

        def make() -> np.ndarray:
            key = {
                "dense": dense.identity,
                "code": hash_files(registry.source_closure(stages.predict, "benchmarks")),
                "batch": model.evaluation_batch,
                "versions": versions("torch", "transformers"),
                "hardware": [hardware.hardware_class, hardware.threads],
            }

            def build(folder: Path) -> None:
                found = self._predict(dense.artifact, model, dense, hardware, f"{model.name}: dense")
                np.save(folder / "predictions.npy", found, allow_pickle=False)

            entry = self.cache.build("predictions", model.name, key, build)
            return np.load(entry / "predictions.npy", allow_pickle=False)

        return _once(self._predictions, (model.name, hardware.name), make)

    def _lane(self, name: str, artifact: Artifact, case: Case, dense: Dense) -> speed.Lane:
        assert case.workload is not None
        return speed.Lane(
            name,
            artifact.directory,
            case.hardware,
            self._cpus(case.hardware),
            dense.test_path,
            case.workload,
            self.settings.stage_seconds,
        )

    def _dense_lane(self, case: Case, dense: Dense) -> speed.Lane:
        key = _lane_key(case)
        if key not in self._lanes:
            # One model's lanes at a time: what is not being timed need not fill the memory.
            for old in [k for k in self._lanes if k[:2] != key[:2]]:
                self._close_lanes(old)
            self._lanes[key] = self._lane("dense", dense.artifact, case, dense)
        return self._lanes[key]

    def _control_lane(self, case: Case, dense: Dense) -> speed.Lane | None:
        """The fastest dense control for this workload, kept loaded; None where there is none."""
        key = _lane_key(case)
        if key not in self._controls:
            lanes = []
            controls = {n: c for n, c in registry.variants().items() if role(c) == "control"}
            for name, control in controls.items():
                with contextlib.suppress(PressbenchError, WorkerError):  # its own case tells why
                    lanes.append(self._lane(name, self.artifact(control, case.model, case.hardware), case, dense))
            with self.stage("time", f"{case.model.name}: choosing the best control"):
                best = speed.fastest(lanes, seed=self.settings.seed)
            for lane in lanes:
                if lane is not best:
                    lane.close()
            self._controls[key] = best
        return self._controls[key]

    def _close_lanes(self, key: tuple[str, str, str]) -> None:
        for lane in (self._lanes.pop(key, None), self._controls.pop(key, None)):
            if lane:
                lane.close()

    def close(self) -> None:
        """End every worker."""
        for key in {*self._lanes, *self._controls}:
            self._close_lanes(key)

    # -- measures --------------------------------------------------------------------------------

    def accuracy(self, case: Case) -> CaseRecord:
        """Per-example outcomes of the artifact against the dense model's on the same examples."""

        from benchmarks.zoo.metrics.accuracy import accuracy  # `evaluate` takes 2 s, which a listing need not wait for

        def measure() -> dict[str, Any]:
            margin = case.target.accuracy_drop
            if margin is not None and (reason := verdicts.resolves(case.model.task.test_examples, margin)):
                raise Unsupported(reason)
            dense = self.dense(case.model)
            artifact = self.artifact(case.compressor, case.model, case.hardware)
            reference = self._dense_predictions(case.model, case.hardware)
            if role(case.compressor) == "dense":
                predictions = reference
            else:
                predictions = self._predict(artifact, case.model, dense, case.hardware, case.id)
            labels = dense.test().labels
            assert labels is not None
            truth = labels.numpy()
            judged = verdicts.accuracy_drop(reference == truth, predictions == truth, margin)
            value = accuracy(predictions.tolist(), truth.tolist())
            low, high = verdicts.proportion_interval(int((predictions == truth).sum()), len(truth))
            drop = _measure(judged, margin)
            flips = {"correct_to_wrong": judged.correct_to_wrong, "wrong_to_correct": judged.wrong_to_correct}
            return {
                "verdict": drop.verdict,
                "reason": judged.reason,
                "measures": {"accuracy": Measure(value=value, low=low, high=high), "accuracy_drop": drop},
                "evidence": {
                    "examples": len(truth),
                    "predictions": predictions.tolist(),
                    "dense_predictions": reference.tolist(),
                    "labels": truth.tolist(),
                    "flips": flips,
                    "minimum_detectable_drop": judged.minimum_detectable,
                    "method": judged.method,
                    "evaluation_batch": case.model.evaluation_batch,
                },
                "artifact": artifact,
            }

        return self._record(case, measure)

    def footprint(self, case: Case) -> CaseRecord:
        """Bytes on disk, weights, and the memory a worker needs above an empty one."""

        def measure() -> dict[str, Any]:
            dense = self.dense(case.model)
            artifact = self.artifact(case.compressor, case.model, case.hardware)
            with self.stage("footprint", case.id), self._worker(case.id, case.hardware) as worker:
                limit = self.settings.stage_seconds
                empty = worker.call(stages.import_runtime, artifact.directory, timeout=limit)
                worker.call(stages.load, artifact.directory, case.hardware, timeout=limit)
                worker.call(stages.set_workload, dense.test_path, case.model.workloads[0], timeout=limit)
                worker.call(stages.forward_once, timeout=limit)
                peak = worker.call(stages.peak_memory, timeout=limit)
                # In the worker, too: to count a module it has to be rebuilt, by the method's own code.
                effect = case.compressor.effect if role(case.compressor) == "method" else None
                inventory, seen, fault = worker.call(
                    stages.count, dense.artifact.directory, artifact.directory, effect, timeout=limit
                )
            size = artifact.disk_bytes / dense.artifact.disk_bytes
            bound = case.target.size
            if bound is None:
                verdict, reason = "measured", f"{size:.3f} of the dense file"
            else:
                verdict = str(Verdict.PASS if size <= bound else Verdict.FAIL)
                reason = (
                    f"{size:.4f} of the dense file ({artifact.disk_bytes:,} of {dense.artifact.disk_bytes:,} bytes), "
                    f"bound ≤ {bound}"
                )
            size_measure = Measure(value=size, bound=bound, verdict=verdict, reason=reason)
            if fault:
                verdict, reason = str(Verdict.FAIL), f"{case.compressor.effect} effect not witnessed: {fault}"
            return {
                "verdict": verdict,
                "reason": reason,
                "measures": {
                    "size_ratio": size_measure,
                    "disk_bytes": Measure(value=artifact.disk_bytes),
                    "parameters": Measure(value=inventory.parameters),
                    "nonzero_parameters": Measure(value=inventory.nonzero),
                    "bits_per_weight": Measure(value=8 * artifact.disk_bytes / max(1, inventory.parameters)),
                    "peak_memory_bytes": Measure(value=max(0, peak - empty)),
                    "compress_seconds": Measure(value=artifact.compress_seconds),
                },
                "evidence": {
                    "dtypes": dict(inventory.dtypes),
                    "operators": dict(inventory.operators),
                    "files": dict(artifact.manifest["files"]),
                    "witness": seen,
                    "memory_workload": case.model.workloads[0].name,
                },
                "artifact": artifact,
            }

        return self._record(case, measure)

    def unmeasured(self, case: Case, reason: str) -> CaseRecord:
        """The record of a case whose speed was not taken: unqualified, never a pass."""

        def measure() -> dict[str, Any]:
            artifact = self.artifact(case.compressor, case.model, case.hardware)
            return {"verdict": str(Verdict.UNQUALIFIED), "reason": reason, "artifact": artifact}

        return self._record(case, measure)

    def speed(self, case: Case) -> CaseRecord:
        """Interleaved pairs against dense torch fp32, and against the best dense control."""

        def measure() -> dict[str, Any]:
            assert case.workload is not None
            dense = self.dense(case.model)
            artifact = self.artifact(case.compressor, case.model, case.hardware)
            settings = self.settings
            best = self._control_lane(case, dense)
            test = SpeedTest(case.speed_target, alpha=ALPHA, tau=settings.tau, budget=settings.budget.pairs)
            with self.stage("time", case.id) as report, contextlib.ExitStack() as stack:
                reference = self._dense_lane(case, dense)
                lane = self._lane(case.compressor_id, artifact, case, dense)
                stack.callback(lane.close)
                other = best if best is not None and best.name != case.compressor_id else None
                try:
                    pairs, judged = speed.measure(
                        reference, lane, other, test, settings.budget, seed=settings.seed, progress=report
                    )
                except WorkerError:  # whichever of them it was: the next case starts with live ones
                    self._close_lanes(_lane_key(case))
                    raise
            measures = {"speedup": _measure(judged, case.speed_target)}
            if other is not None:
                measures["speedup_vs_control"] = _ratio(*speed.ratio_interval(pairs.log_ratios_to_control(), 2 * ALPHA))
            elif best is not None:
                measures["speedup_vs_control"] = Measure(value=1.0, reason="this is the best control")
            return {
                "verdict": measures["speedup"].verdict,
                "reason": judged.reason,
                "measures": measures,
                "evidence": {
                    "pairs": judged.pairs,
                    "decided_at": judged.decided_at,
                    "alpha": ALPHA,
                    "tau": settings.tau,
                    "qualified": False,
                    "control": best.name if best else None,
                    "calls_per_slot": {"dense": reference.calls, "compressed": lane.calls},
                    "orders": pairs.orders,
                    "dense_seconds": pairs.dense,
                    "compressed_seconds": pairs.compressed,
                    "control_seconds": pairs.control,
                    "measuring_seconds": pairs.seconds,
                    "threads": case.hardware.threads,
                },
                "artifact": artifact,
            }

        return self._record(case, measure)

    # -- records ---------------------------------------------------------------------------------

    def fingerprint(self, hardware: Hardware) -> dict[str, Any]:
        """The machine as it was when the run first asked."""
        if hardware.name not in self._fingerprints:
            self._fingerprints[hardware.name] = fingerprint(hardware)
        return self._fingerprints[hardware.name]

    def _record(self, case: Case, measure: Callable[[], dict[str, Any]]) -> CaseRecord:
        """Run `measure`; whatever goes wrong in it becomes the record's verdict, with its reason."""
        started = time.perf_counter()
        artifact: Artifact | None = None
        try:
            found = measure()
            artifact = found.pop("artifact")
        except Unsupported as error:
            found = {"verdict": str(Verdict.UNSUPPORTED), "reason": str(error)}
        except (PressbenchError, ArtifactError) as error:
            found = {"verdict": str(Verdict.ERROR), "reason": str(error)}
        except WorkerError as error:
            found = {"verdict": str(Verdict.ERROR), "reason": str(error), "evidence": {"detail": error.detail}}
        except Exception as error:  # ours, then: it must not cost the record, nor the cases after it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            found = {"verdict": str(Verdict.ERROR), "reason": reason, "evidence": {"detail": traceback.format_exc()}}
        return CaseRecord(
            run=self.run,
            case=case.id,
            measure=case.measure,
            compressor=case.compressor_id,
            family=case.compressor.family,
            effect=case.compressor.effect,
            role=role(case.compressor),
            parameters={"compressor": case.compressor.name, **case.compressor.parameters},
            model=case.model.name,
            task=case.model.task.name,
            hardware=case.hardware.name,
            hardware_class=case.hardware.hardware_class,
            workload=_workload(case),
            seconds={"case": round(time.perf_counter() - started, 3)},
            recipe=tuple(
                {k: v for k, v in step.items() if k != "structure"} for step in (artifact.recipe if artifact else [])
            ),
            artifact=artifact.digest if artifact else None,
            fingerprint=self.fingerprint(case.hardware)["hash"],
            ended=now(),
            **found,
        )


def _lane_key(case: Case) -> tuple[str, str, str]:
    return (case.model.name, case.hardware.name, _workload(case) or "")


def _workload(case: Case) -> str | None:
    workload: Workload | None = case.workload
    return workload.name if workload else None


def _measure(judged: verdicts.Judgement, bound: float | None) -> Measure:
    """A judgement as a stored measure. JSON has no infinity: an open end is stored as null."""
    low, high = (v if math.isfinite(v) else None for v in (judged.low, judged.high))
    if bound is None:
        return Measure(value=judged.value, low=low, high=high)
    return Measure(
        value=judged.value, low=low, high=high, bound=bound, verdict=str(judged.verdict), reason=judged.reason
    )


def _ratio(value: float, low: float, high: float) -> Measure:
    return Measure(value=value, low=low, high=high if math.isfinite(high) else None)


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
