"""Interleaved pairs against dense torch fp32, and against the best dense control."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import secrets
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.matrix.cases import Case
from benchmarks.measure import speed
from benchmarks.measure.lane import Lane
from benchmarks.measure.worker import WorkerError
from benchmarks.qualification.bandwidth_floor import floor_of
from benchmarks.qualification.possible import ceiling_of, impossible
from benchmarks.run.checks import check_passes, check_tokens, same_tokens
from benchmarks.run.lanes import no_generator
from benchmarks.run.measures import against
from benchmarks.run.supervision import Watched
from benchmarks.run.workbench import Workbench, own_workload
from benchmarks.verdicts import SpeedTest, Verdict, estimate
from benchmarks.verdicts.judged import measure_of
from benchmarks.zoo.workload import Workload
from compressors.artifact import Artifact
from compressors.interface import PressbenchError, Unsupported
from results.store.record import Measure

ALPHA = 0.01
"""Error rate of a speed verdict, each way."""


def measure(bench: Workbench, case: Case) -> dict[str, Any]:
    """How fast it is, judged; the same, for a record. Raises Unsupported where it cannot be timed so, and
    PressbenchError where what was timed is not what was scored, or cannot have been."""
    assert case.workload is not None
    if reason := no_generator(case.compressor, case):
        raise Unsupported(reason)
    artifact = bench.artifact(case)
    settings = bench.settings
    bench.lanes.prepare(case)
    standing = bench.supervision.standing(case)
    test = SpeedTest(case.speed_target, alpha=ALPHA, tau=standing.tau, budget=settings.budget.pairs)
    with bench.stage("measure speed", case.id) as report, contextlib.ExitStack() as stack:
        stack.enter_context(bench.supervision.alone(case.hardware, report))
        best = bench.lanes.control(case)
        reference = bench.lanes.dense(case)
        lane = bench.lanes.own(artifact, case)
        stack.callback(lane.close)
        other = best if best is not None and best.name != case.compressor_id else None
        beside = bench.lanes.other(case)
        shared = [one for one in (reference, other, beside) if one]
        for one in shared:
            one.begin()
        inputs = secrets.randbits(32)  # nobody can have remembered what nobody could know
        try:
            with bench.supervision.watched(case, standing) as watched:
                pairs, judged = speed.measure(
                    reference, lane, other, test, settings.budget, seed=settings.seed, inputs=inputs, against=beside,
                    progress=report,
                )  # fmt: skip
        except WorkerError:  # whichever of them it was: the next case starts with live ones
            bench.lanes.drop(case)
            raise
        slots = ((reference, pairs.dense), (lane, pairs.compressed), (other, pairs.control), (beside, pairs.against))
        bench.stage.took(sum(one.calls * sum(seconds) for one, seconds in slots if one))
        bytes_read = lane.bytes_read() if case.workload.kind == "decode" else None
        memory = lane.memory()
        taken = {"dense": reference.memory(), "compressed": memory}
    tokens = same_tokens(reference, lane) if case.workload.generates else {}
    check = check_tokens if case.workload.generates else check_passes
    checked = check(lane, artifact, case, bench.evaluated, inputs)
    askew = {one.name: told for one in (*shared, lane) if (told := one.account.faults())}
    if not askew:  # else the seconds are not believed anyhow
        _possible(bench, case, artifact, lane, pairs.compressed, watched)
    measures, floor = _rates(case.workload, pairs.compressed), None
    if bytes_read is not None:
        floor = floor_of(bytes_read, standing, watched.conditions.probes if watched.conditions else ())
        measures["bytes_per_token"] = Measure(value=bytes_read)
    if floor is not None:
        share = floor.share(statistics.median(pairs.compressed) / case.own_workload(case.workload).new_tokens)
        measures["bandwidth_floor_share"] = Measure(value=share)
    measures |= {"speedup": measure_of(judged, case.speed_target), "timed_memory_bytes": Measure(value=memory)}
    reason = judged.reason
    # What the machine was like may be accepted by an option; that times do not add up may not.
    spoilt = "; ".join(f"{name}: {', '.join(told)}" for name, told in askew.items()) or watched.spoilt
    if spoilt:
        reason = f"{spoilt}; {reason}"
        measures["speedup"] = dataclasses.replace(measures["speedup"], verdict=str(Verdict.UNQUALIFIED), reason=reason)
    if other is not None:
        measures["speedup_vs_control"] = _ratio(*estimate(pairs.control, pairs.compressed, 2 * ALPHA))
    elif best is not None:
        measures["speedup_vs_control"] = Measure(value=1.0, reason="this is the best control")
    beat = _ratio(*estimate(pairs.against, pairs.compressed, 2 * ALPHA)) if beside else None
    held = against.speed(case, beat)
    measures |= held.measures
    return {
        "verdict": measures["speedup"].verdict,
        "reason": reason + held.told,
        "measures": measures,
        "evidence": {
            "pairs": judged.pairs,
            "decided_at": judged.decided_at,
            "alpha": ALPHA,
            **watched.evidence(),
            **own_workload(case.workload, case.own_workload(case.workload)),
            "control": best.name if best else None,
            **({"greedy": tokens} if tokens else {}),
            **({"floor": floor.evidence()} if floor else {}),
            "checked": checked,
            "outside": {"dense": reference.account.to_json(), "compressed": lane.account.to_json()},
            "inputs": inputs,
            "memory_bytes": taken,
            "calls_per_slot": {"dense": reference.calls, "compressed": lane.calls},
            "orders": pairs.orders,
            "dense_seconds": pairs.dense,
            "compressed_seconds": pairs.compressed,
            "control_seconds": pairs.control,
            **held.evidence,
            **({"against_seconds": pairs.against} if beside else {}),
            "measuring_seconds": pairs.seconds,
            "threads": case.hardware.threads,
        },
        "artifact": artifact,
    }


def _possible(
    bench: Workbench, case: Case, artifact: Artifact, lane: Lane, seconds: Sequence[float], watched: Watched
) -> None:  # fmt: skip
    """Raises PressbenchError where the machine cannot have done in these seconds what the artifact executes."""
    assert case.workload is not None
    probes = watched.conditions.probes if watched.conditions else ()
    ceiling = ceiling_of(watched.standing, probes)
    if ceiling is None:
        return
    inputs, workload = bench.prepared.inputs_path(case.asked_as), case.own_workload(case.workload)
    executed = bench.prepared.executed(artifact, inputs, workload, case.hardware)
    passes = case.workload.new_tokens if case.workload.kind == "decode" else 1
    if executed and (why := impossible(executed, passes, statistics.median(seconds), ceiling, case.hardware)):
        raise PressbenchError(f"{lane.name}: {why}")


def _rates(workload: Workload, seconds: Sequence[float]) -> dict[str, Measure]:
    """Absolute rates of the compressed model, by the median slot: for a reader, never judged."""
    if not workload.generates or not workload.tokens:
        return {}
    usual = statistics.median(seconds)
    rates = {"tokens_per_second": Measure(value=workload.tokens / usual)}
    if workload.kind == "prefill":
        return rates | {"seconds_to_first_token": Measure(value=usual)}
    if workload.kind == "generate":
        return rates
    return rates | {"seconds_per_token": Measure(value=usual / workload.new_tokens)}


def _ratio(value: float, low: float, high: float) -> Measure:
    return Measure(value=value, low=low, high=high if math.isfinite(high) else None)
