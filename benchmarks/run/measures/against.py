"""What a case is beside another of the run, `--against`: the file that is shipped today, or another method. The same
examples, the same slots, and no dense model in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.matrix.cases import Case
from benchmarks.measure.worker import WorkerError
from benchmarks.quality.scoring import Answers, Quality
from benchmarks.run.workbench import Workbench
from compressors.artifact import Artifact, ArtifactError
from compressors.interface import Examples, PressbenchError
from results.store.record import Measure


@dataclass(frozen=True)
class Held:
    """What a record says of it. reason: a few words; evidence: what the other was."""

    measures: dict[str, Measure] = field(default_factory=dict)
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The reason behind one that stands before it."""
        return f"; {self.reason}" if self.reason else ""


def loss(bench: Workbench, case: Case, quality: Quality, after: Answers, test: Examples, bound: float | None) -> Held:
    """What it lost against the other, example by example, judged by the bound of its loss against the dense model.
    after: its answers."""
    other = case.held_against
    if other is None:
        return Held()
    artifact, why = _made(bench, other)
    if artifact is None:
        return Held(reason=why)
    if quality.judges or other.asked_as.task.quality.judges:
        return Held(reason=f"against {other.compressor_id}: not told, as their tokens are not the same")
    before = bench.evaluated.answers(artifact, other.asked_as, other.hardware, other.id)
    found = quality.judge(before, after, test, bound).measures[quality.bound]
    unit = " %" if quality.bound == "perplexity_rise" else " points"
    ends = "" if found.low is None or found.high is None else f" [{100 * found.low:+.3g}, {100 * found.high:+.3g}]"
    limit = "" if found.bound is None else f", bound {100 * found.bound:.3g}"
    reason = f"against {other.compressor_id}: {100 * (found.value or 0.0):+.3g}{ends}{unit}{limit}"
    return Held({"loss_against": found}, reason, _evidence(other, artifact))


def size(bench: Workbench, case: Case, artifact: Artifact) -> Held:
    """Its bytes on disk over the other's."""
    other = case.held_against
    if other is None:
        return Held()
    found, why = _made(bench, other)
    if found is None:
        return Held(reason=why)
    ratio = artifact.disk_bytes / found.disk_bytes
    reason = f"{ratio:.4g} of the bytes of {other.compressor_id}"
    return Held({"size_against": Measure(value=ratio)}, reason, _evidence(other, found))


def _made(bench: Workbench, other: Case) -> tuple[Artifact | None, str]:
    """The other's artifact, or why there is none; its own case tells all."""
    try:
        return bench.artifact(other), ""
    except (PressbenchError, ArtifactError, WorkerError) as error:
        return None, f"against {other.compressor_id}: not told, as there is none: {error}"


def _evidence(other: Case, artifact: Artifact) -> dict[str, Any]:
    return {"against": {"compressor": other.compressor_id, "artifact": artifact.digest}}
