"""Bytes on disk, weights, and the memory a worker needs above an empty one."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.matrix.cases import Case, role
from benchmarks.measure import stages
from benchmarks.preparation.memory import Memory
from benchmarks.run.measures import against
from benchmarks.run.workbench import Workbench, own_workload
from benchmarks.verdicts import Verdict
from compressors.runtimes.base import runtime
from compressors.runtimes.executed import Executed
from results.store.record import Measure

OVERHEAD = 1.6
"""Bytes on disk over those of the weights by their types that raise no question: scales and zero points of groups of
32 at 2 bits make 1.4, and a graph and a manifest take some."""


def measure(bench: Workbench, case: Case) -> dict[str, Any]:
    """What it takes, and whether its effect is witnessed; the same, for a record."""
    dense = bench.prepared.dense(case.model)
    artifact = bench.artifact(case)
    made = None if case.compressor.family == "given" else bench.prepared.makings.of(artifact.directory)
    workload = case.model.memory_workload or case.model.workloads[0]
    inputs, own = bench.prepared.inputs_path(case.asked_as), case.own_workload(workload)
    with bench.stage("measure footprint", case.id):
        memory = bench.prepared.memory(artifact, inputs, own, case.hardware, case.id)
        dense_work = bench.prepared.executed(dense.artifact, dense.inputs_path, workload, case.hardware)
    closed = bench.prepared.enclosure(artifact.directory, dense.artifact.directory, dense.inputs_path, inputs)
    with (
        bench.stage("measure footprint", case.id),
        bench.prepared.worker(case.id, case.hardware, closed) as worker,
    ):
        # In a worker, too: to count a module it has to be rebuilt, by the method's own code.
        limit = bench.settings.stage_seconds
        judged = role(case.compressor) == "method"
        counted: stages.Counted = worker.call(
            stages.count, dense.artifact.directory, artifact.directory, case.compressor.effect, judged,
            (dense.inputs_path, inputs), (workload, own), dense_work, timeout=limit,
        )  # fmt: skip
    bench.prepared.counted(artifact, own, counted.executed)
    inventory, whole, fault = counted.inventory, counted.dense, counted.fault
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
    if (claimed := inventory.claimed_bytes) is not None and artifact.disk_bytes > OVERHEAD * claimed + 2**18:
        reason += f"; the method counts its weights as {claimed:,} bytes, what is on disk counts"
    elsewhere = runtime(artifact.manifest["runtime"]).scored_alone
    if elsewhere:
        reason += f"; {elsewhere}: no memory"
    if memory.grows:
        reason += f"; its memory grows by {memory.growth / 2**20:.3g} MiB a call"
    beside = against.size(bench, case, artifact)
    reason += beside.told
    size_measure = Measure(value=size, bound=bound, verdict=verdict, reason=reason)
    if fault and case.compressor.effect:
        verdict, reason = str(Verdict.FAIL), f"{case.compressor.effect} effect not witnessed: {fault}"
    elif fault:  # which claims nothing: an export of the dense model may be judged, too
        reason += f"; {fault}"
    return {
        "verdict": verdict,
        "reason": reason,
        "measures": {
            "size_ratio": size_measure,
            "disk_bytes": Measure(value=artifact.disk_bytes),
            **beside.measures,
            "parameters": Measure(value=inventory.parameters or None),
            "nonzero_parameters": Measure(value=inventory.nonzero),
            "bits_per_weight": Measure(
                value=8 * artifact.disk_bytes / inventory.parameters if inventory.parameters else None
            ),
            **({} if elsewhere else _taken(memory)),
            "compress_seconds": Measure(value=made.seconds if made else None),
            **(_work(counted.executed) if counted.executed else {}),
        },
        "evidence": {
            "dtypes": dict(inventory.dtypes),
            "claimed_bytes": inventory.claimed_bytes,
            "operators": dict(inventory.operators),
            "layers": {name: dataclasses.asdict(layer) for name, layer in inventory.layers.items()},
            "dense_layers": {name: dataclasses.asdict(layer) for name, layer in whole.layers.items()},
            "files": dict(artifact.manifest["files"]),
            "witness": counted.seen,
            "compress": (
                {"seconds_in_this_run": made.here, "seconds_in_the_method": artifact.compress_seconds} if made else None
            ),
            "executed": counted.executed.to_json() if counted.executed else None,
            "dense_executed": counted.dense_executed.to_json() if counted.dense_executed else None,
            "memory_workload": workload.name,
            **own_workload(workload, own),
            **beside.evidence,
            "memory": memory.to_json(),
            "first_answer": {
                "import_seconds": memory.waits.imported,
                "load_seconds": memory.waits.loaded,
                "first_call_seconds": memory.waits.called,
            },
        },
        "artifact": artifact,
    }


def _work(executed: Executed) -> dict[str, Measure]:
    return {
        "operations": Measure(value=executed.total),
        "weight_bytes_read": Measure(value=executed.weight_bytes),
    }


def _taken(memory: Memory) -> dict[str, Measure]:
    return {
        "peak_memory_bytes": Measure(value=memory.peak),
        "memory_growth_bytes": Measure(value=memory.growth),
        "first_answer_seconds": Measure(value=memory.waits.first_answer),
    }
