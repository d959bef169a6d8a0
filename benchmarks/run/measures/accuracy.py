"""Per-example outcomes of the artifact against the dense model's on the same examples."""

from __future__ import annotations

from typing import Any

from benchmarks.matrix.cases import Case, role
from benchmarks.preparation import agreement, steadiness
from benchmarks.quality.beside import worst
from benchmarks.run.measures import against
from benchmarks.run.workbench import Workbench
from compressors.interface import Unsupported


def measure(bench: Workbench, case: Case) -> dict[str, Any]:
    """How well it answers: verdict, reason, measures, evidence and the artifact, for a record. Raises what making and
    evaluating it do."""
    quality, bound = case.model.task.quality, case.quality_bound
    if reason := quality.missing():
        raise Unsupported(reason)
    if reason := quality.too_few(case.model.task.test_examples):
        raise Unsupported(reason)
    if bound is not None and (reason := quality.resolves(case.model.task.test_examples, bound)):
        raise Unsupported(reason)
    dense = bench.prepared.dense(case.model)
    artifact = bench.artifact(case)
    dense_label = f"{case.model.name}: dense"
    before = bench.evaluated.answers(dense.artifact, case.model, case.hardware, dense_label)
    after = bench.evaluated.answers(artifact, case.asked_as, case.hardware, case.id)
    labels, test = case.model.task.labels, dense.test()
    nothing, agreed = quality.nothing_to_lose(before, test, labels), bench.prepared.agreed[case.model.name]
    if not nothing and not agreed.get("shown"):
        nothing = f"it is not shown that the dense model is run as its owner would: {agreed.get('why')}"
    if not nothing and case.asked and not (own := bench.prepared.agreed[case.asked.name]).get("shown"):
        nothing = f"it is not shown that it is run as its owner would: {own.get('why')}"
    quality = case.asked_as.task.quality if case.asked_as.task.quality.judges else quality
    scored = quality.judge(before, after, test, None if nothing else bound)
    more = quality.beside(before, after, test, {} if nothing else case.bounds_beside, labels)
    beside = against.loss(bench, case, quality, after, test, None if nothing else bound)
    reason = "; ".join([scored.reason, *more.reasons]) + steadiness.in_words(after) + beside.told
    if role(case.compressor) == "method" and (strange := quality.unlike(before, after, labels)):
        reason += f"; {strange}"
    if nothing:
        reason = f"no verdict: {nothing}; {reason}"
    floor: dict[str, Any] = {}
    if role(case.compressor) == "dense":
        floor, words = bench.evaluated.flip_floor(case.model, case.hardware)
        reason += f"; {words}{agreement.told(agreed)}"
    return {
        "verdict": worst(scored.verdict, {**more.measures, **beside.measures}),
        "reason": reason,
        "measures": {**scored.measures, **more.measures, **beside.measures},
        "evidence": {
            **scored.evidence,
            **more.evidence,
            **quality.examples_told(before, after, test, labels, dense.shown()),
            "evaluation_batch": case.model.evaluation_batch,
            "task_type": quality.hub_task(tuple(case.model.inputs)),
            "flip_floor": floor,
            "owners_run": agreed,
            **({"owners_run_of_its_own": bench.prepared.agreed[case.asked.name]} if case.asked else {}),
            "steadiness": steadiness.told(after),
            **({"doubt": nothing} if nothing else {}),
            **beside.evidence,
        },
        "artifact": artifact,
    }
