"""The lanes that cases share: the dense model, the best dense control and what all are held against, loaded once and
kept."""

from __future__ import annotations

import contextlib

from benchmarks.matrix.cases import Case, role
from benchmarks.measure.lane import Lane, fastest
from benchmarks.measure.worker import WorkerError
from benchmarks.preparation.preparation import Preparation, cpus_of
from benchmarks.zoo.model import Model
from benchmarks.zoo.workload import Workload
from compressors import registry
from compressors.artifact import Artifact
from compressors.given.given import Given
from compressors.interface import Compressor, PressbenchError
from compressors.runtimes.base import NO_WRITER, runtime_classes

Key = tuple[str, str, str]


class Lanes:
    """Opens lanes. One model's are kept at a time: what is not being timed need not fill the memory."""

    def __init__(self, prepared: Preparation) -> None:
        self._prepared = prepared
        self._dense: dict[Key, Lane] = {}
        self._controls: dict[Key, Lane | None] = {}
        self._others: dict[Key, Lane] = {}

    def own(self, artifact: Artifact, case: Case) -> Lane:
        """The lane of the case's own artifact, for the caller to close. Raises WorkerError or PressbenchError."""
        assert case.workload is not None
        return self.open(case.compressor_id, artifact, case, case.asked_as, case.own_workload(case.workload))

    def open(
        self, name: str, artifact: Artifact, case: Case, asked: Model | None = None, workload: Workload | None = None
    ) -> Lane:  # fmt: skip
        """A lane on what the dense model is asked, or `asked` in its place. Raises WorkerError or PressbenchError."""
        assert case.workload is not None
        settings, inputs = self._prepared.settings, self._prepared.inputs_path(asked or case.model)
        return Lane(
            name, artifact.directory, case.hardware, cpus_of(case.hardware), inputs, workload or case.workload,
            settings.stage_seconds, settings.memory_limit, self._prepared.enclosure(artifact.directory, inputs),
        )  # fmt: skip

    def dense(self, case: Case) -> Lane:
        """The dense model's lane for this workload."""
        key = _key(case)
        if key not in self._dense:
            for old in [k for k in self._dense if k[:2] != key[:2]]:
                self._drop(old)
            self._dense[key] = self.open("dense", self._prepared.dense(case.model).artifact, case)
        return self._dense[key]

    def other(self, case: Case) -> Lane | None:
        """The lane of what the case is held against; None where there is none, or none that can be timed so, which its
        own case tells. A control that is the best one has two."""
        other = case.held_against
        if other is None or no_generator(other.compressor, other):
            return None
        key = _key(case)
        if key not in self._others:
            with contextlib.suppress(PressbenchError, WorkerError):
                artifact = self._prepared.artifact(other.compressor, other.model, other.hardware, other.asked)
                self._others[key] = self.own(artifact, other)
        return self._others.get(key)

    def prepare(self, case: Case) -> None:
        """Make the artifacts that the lanes of this workload need, so that nobody waits for it with the
        machine locked."""
        if _key(case) not in self._controls:
            for control in registry.variants(self._prepared.settings.tier).values():
                if role(control) == "control" and not no_generator(control, case):
                    with contextlib.suppress(PressbenchError, WorkerError):
                        self._prepared.artifact(control, case.model, case.hardware)
        if (other := case.held_against) and _key(case) not in self._others:
            with contextlib.suppress(PressbenchError, WorkerError):
                self._prepared.artifact(other.compressor, other.model, other.hardware, other.asked)

    def control(self, case: Case) -> Lane | None:
        """The lane of the fastest dense control for this workload; None where there is none."""
        key = _key(case)
        if key not in self._controls:
            lanes = []
            for name, control in registry.variants(self._prepared.settings.tier).items():
                if role(control) == "control" and not no_generator(control, case):
                    with contextlib.suppress(PressbenchError, WorkerError):  # its own case tells why
                        artifact = self._prepared.artifact(control, case.model, case.hardware)
                        lanes.append(self.open(name, artifact, case))
            with self._prepared.stage("measure speed", f"{case.model.name}: choosing the best control"):
                best = fastest(lanes, seed=self._prepared.settings.seed)
            for lane in lanes:
                if lane is not best:
                    lane.close()
            self._controls[key] = best
        return self._controls[key]

    def drop(self, case: Case) -> None:
        """End what is shared for this workload; the next case that asks gets live ones."""
        self._drop(_key(case))

    def close(self) -> None:
        """End every lane."""
        for key in {*self._dense, *self._controls, *self._others}:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        for lane in (self._dense.pop(key, None), self._controls.pop(key, None), self._others.pop(key, None)):
            if lane:
                lane.close()


def no_generator(compressor: Compressor, case: Case) -> str | None:
    """Why what `compressor` makes cannot run the case's workload, known without making it: a workload that generates,
    and a runtime that keeps no cache, or a model that is not made for it; a pass that the runtime makes of single
    tokens; or a runtime that is here to be scored alone. None where it may."""
    name = registry.runtime_of(compressor)
    runtime = runtime_classes().get(name)
    if runtime is not None and runtime.scored_alone:
        return f"{runtime.scored_alone}: no speed"
    if case.workload is None or runtime is None:
        return None
    kind, behind = case.workload.kind, "decoder_input_ids" in case.model.inputs
    if kind == "forward":
        return runtime.step_by_step and f"{name} {runtime.step_by_step}: no pass to be timed"
    if case.model.inputs and behind != (kind == "generate"):  # what is out of reach has none, and tells that itself
        return f"{case.model.name} is {'an' if behind else 'no'} encoder with a decoder: no {kind}"
    if kind == "generate":
        return None if runtime.writes else f"{name} {NO_WRITER}"
    if runtime.generates or (runtime.generates_given and isinstance(compressor, Given)):
        return None
    return f"{name} keeps no key-value cache here: no prefill and no decode"


def _key(case: Case) -> Key:
    return (case.model.name, case.hardware.name, case.workload.name if case.workload else "")
