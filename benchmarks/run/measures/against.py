"""What a case is beside another of the run, `--against`: the file that is shipped today, or another method. The same
examples, the same slots, and no dense model in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.matrix.cases import Case
from benchmarks.measure.worker import WorkerError
from benchmarks.quality.scoring import Answers, Quality
from benchmarks.run.workbench import Workbench
from compressors.artifact import Artifact, ArtifactError
from compressors.interface import Examples, PressbenchError
from results.store.record import Measure
from results.table.cells import MISSING


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
    after: its answers. Where it cannot be told, a bound is not shown to be kept."""
    found = _other(bench, case)
    if isinstance(found, Held):
        return _untold(found, bound)
    other, artifact = found
    if quality.judges or other.asked_as.task.quality.judges:
        return _untold(_without(other, "their tokens are not the same"), bound)
    try:
        before = bench.evaluated.answers(artifact, other.asked_as, other.hardware, other.id)
    except (PressbenchError, WorkerError) as error:
        return _untold(_without(other, f"it has no answers: {error}"), bound)
    lost = quality.judge(before, after, test, bound).measures[quality.bound]
    unit = " %" if quality.bound == "perplexity_rise" else " points"
    ends = "" if lost.low is None or lost.high is None else f" [{100 * lost.low:+.3g}, {100 * lost.high:+.3g}]"
    limit = "" if lost.bound is None else f", bound {100 * lost.bound:.3g}"
    reason = f"against {other.compressor_id}: {100 * (lost.value or 0.0):+.3g}{ends}{unit}{limit}"
    return Held({"loss_against": lost}, reason, _evidence(other, artifact))


def _untold(held: Held, bound: float | None) -> Held:
    if not held.reason or bound is None:
        return held
    return replace(held, measures={"loss_against": Measure(bound=bound, verdict="inconclusive", reason=held.reason)})


def size(bench: Workbench, case: Case, artifact: Artifact) -> Held:
    """Its bytes on disk over the other's."""
    found = _other(bench, case)
    if isinstance(found, Held):
        return found
    other, theirs = found
    ratio = artifact.disk_bytes / theirs.disk_bytes
    reason = f"{ratio:.4g} of the bytes of {other.compressor_id}"
    return Held({"size_against": Measure(value=ratio)}, reason, _evidence(other, theirs))


def _other(bench: Workbench, case: Case) -> tuple[Case, Artifact] | Held:
    """The case that this one is held against, and its artifact; else what there is to say without: nothing, or why none
    was made, of which its own case tells all."""
    other = case.held_against
    if other is None:
        return Held()
    try:
        return other, bench.artifact(other)
    except (PressbenchError, ArtifactError, WorkerError) as error:
        return _without(other, f"there is none: {error}")


def speed(case: Case, ratio: Measure | None) -> Held:
    """Its speed over the other's. ratio: with its interval, of slots that both took their turns in; None where the
    other had none."""
    other = case.held_against
    if other is None:
        return Held()
    if ratio is None:
        return _without(other, "it could not be timed beside this one, of which its own case tells all")
    value, low, high = (MISSING if end is None else f"{end:.3g}" for end in (ratio.value, ratio.low, ratio.high))
    return Held(
        {"speedup_against": ratio}, f"against {other.compressor_id}: {value}x [{low}, {high}]", _evidence(other)
    )


def _without(other: Case, why: str) -> Held:
    return Held(reason=f"against {other.compressor_id}: not told, as {why}", evidence=_evidence(other))


def _evidence(other: Case, artifact: Artifact | None = None) -> dict[str, Any]:
    digest = {"artifact": artifact.digest} if artifact else {}
    return {"against": {"compressor": other.compressor_id, **digest}}
