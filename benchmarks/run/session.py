"""One run of the suite: measures a case on what was prepared for it, judges it, makes its record."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import secrets
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cache import Cache
from benchmarks.matrix.cases import Case, role
from benchmarks.measure import speed, stages
from benchmarks.measure.exclusive import Occupied
from benchmarks.measure.lane import Lane
from benchmarks.measure.worker import WorkerError
from benchmarks.preparation import agreement, steadiness
from benchmarks.preparation.memory import Memory
from benchmarks.preparation.preparation import Preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.qualification.bandwidth_floor import floor_of
from benchmarks.qualification.possible import ceiling_of, impossible
from benchmarks.quality.beside import worst
from benchmarks.run.checks import check_passes, check_tokens, same_tokens
from benchmarks.run.lanes import Lanes, no_generator
from benchmarks.run.resume import Finished
from benchmarks.run.supervision import Supervision, Watched
from benchmarks.verdicts import SpeedTest, Verdict, estimate
from benchmarks.verdicts.judged import measure_of
from benchmarks.zoo.workload import Workload
from compressors.artifact import Artifact, ArtifactError
from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.base import runtime
from compressors.runtimes.executed import Executed
from results.store.record import CaseRecord, Measure
from results.store.store import ResultsError, now

ALPHA = 0.01
"""Error rate of a speed verdict, each way."""
OVERHEAD = 1.6
"""Bytes on disk over those of the weights by their types that raise no question: scales and zero points of groups of
32 at 2 bits make 1.4, and a graph and a manifest take some."""


@dataclass
class Session:
    """A run in progress. `run` is the id that records carry. finished: what an earlier part of it has measured."""

    run: str
    cache: Cache
    settings: Settings
    stage: Stages
    finished: Finished = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prepared = Preparation(self.cache, self.settings, self.stage)
        self.lanes = Lanes(self.prepared)
        self.supervision = Supervision(self.prepared)

    def close(self) -> None:
        """End every worker."""
        self.lanes.close()
        self.supervision.close()

    # -- measures --------------------------------------------------------------------------------

    def accuracy(self, case: Case) -> CaseRecord:
        """Per-example outcomes of the artifact against the dense model's on the same examples."""

        def measure() -> dict[str, Any]:
            quality, bound = case.model.task.quality, case.quality_bound
            if reason := quality.missing():
                raise Unsupported(reason)
            if bound is not None and (reason := quality.resolves(case.model.task.test_examples, bound)):
                raise Unsupported(reason)
            dense = self.prepared.dense(case.model)
            artifact = self._artifact(case)
            dense_label = f"{case.model.name}: dense"
            before = self.prepared.answers(dense.artifact, case.model, case.hardware, dense_label)
            after = self.prepared.answers(artifact, case.asked_as, case.hardware, case.id)
            labels, test = case.model.task.labels, dense.test()
            nothing, agreed = quality.nothing_to_lose(before, test, labels), self.prepared.agreed[case.model.name]
            if not nothing and not agreed.get("shown"):
                nothing = f"it is not shown that the dense model is run as its owner would: {agreed.get('why')}"
            if not nothing and case.asked and not (own := self.prepared.agreed[case.asked.name]).get("shown"):
                nothing = f"it is not shown that it is run as its owner would: {own.get('why')}"
            quality = case.asked_as.task.quality if case.asked_as.task.quality.judges else quality
            scored = quality.judge(before, after, test, None if nothing else bound)
            more = quality.beside(before, after, test, {} if nothing else case.bounds_beside, labels)
            reason = "; ".join([scored.reason, *more.reasons]) + steadiness.in_words(after)
            if role(case.compressor) == "method" and (strange := quality.unlike(before, after, labels)):
                reason += f"; {strange}"
            if nothing:
                reason = f"no verdict: {nothing}; {reason}"
            floor: dict[str, Any] = {}
            if role(case.compressor) == "dense":
                floor, words = self.prepared.flip_floor(case.model, case.hardware)
                reason += f"; {words}{agreement.told(agreed)}"
            return {
                "verdict": worst(scored.verdict, more.measures),
                "reason": reason,
                "measures": {**scored.measures, **more.measures},
                "evidence": {
                    **scored.evidence,
                    **more.evidence,
                    **quality.examples_told(before, after, test, labels, dense.shown()),
                    "evaluation_batch": case.model.evaluation_batch,
                    "task_type": quality.hub_task(tuple(case.model.inputs)),
                    "flip_floor": floor,
                    "owners_run": agreed,
                    **({"owners_run_of_its_own": self.prepared.agreed[case.asked.name]} if case.asked else {}),
                    "steadiness": steadiness.told(after),
                    **({"doubt": nothing} if nothing else {}),
                },
                "artifact": artifact,
            }

        return self._record(case, measure)

    def footprint(self, case: Case) -> CaseRecord:
        """Bytes on disk, weights, and the memory a worker needs above an empty one."""

        def measure() -> dict[str, Any]:
            dense = self.prepared.dense(case.model)
            artifact = self._artifact(case)
            made = None if case.compressor.family == "given" else self.prepared.makings.of(artifact.directory)
            workload = case.model.memory_workload or case.model.workloads[0]
            inputs, own = self.prepared.inputs_path(case.asked_as), case.own_workload(workload)
            with self.stage("measure footprint", case.id):
                memory = self.prepared.memory(artifact, inputs, own, case.hardware, case.id)
            closed = self.prepared.enclosure(artifact.directory, dense.artifact.directory, dense.inputs_path, inputs)
            with (
                self.stage("measure footprint", case.id),
                self.prepared.worker(case.id, case.hardware, closed) as worker,
            ):
                # In a worker, too: to count a module it has to be rebuilt, by the method's own code.
                limit = self.settings.stage_seconds
                judged = role(case.compressor) == "method"
                counted: stages.Counted = worker.call(
                    stages.count, dense.artifact.directory, artifact.directory, case.compressor.effect, judged,
                    (dense.inputs_path, inputs), (workload, own), timeout=limit,
                )  # fmt: skip
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
                        {"seconds_in_this_run": made.here, "seconds_in_the_method": artifact.compress_seconds}
                        if made
                        else None
                    ),
                    "executed": counted.executed.to_json() if counted.executed else None,
                    "dense_executed": counted.dense_executed.to_json() if counted.dense_executed else None,
                    "memory_workload": workload.name,
                    **_own(workload, own),
                    "memory": memory.to_json(),
                    "first_answer": {
                        "import_seconds": memory.waits.imported,
                        "load_seconds": memory.waits.loaded,
                        "first_call_seconds": memory.waits.called,
                    },
                },
                "artifact": artifact,
            }

        return self._record(case, measure)

    def unmeasured(self, case: Case, reason: str) -> CaseRecord:
        """The record of a case whose speed was not taken: unqualified, never a pass."""

        def measure() -> dict[str, Any]:
            artifact = self._artifact(case)
            return {"verdict": str(Verdict.UNQUALIFIED), "reason": reason, "artifact": artifact}

        return self._record(case, measure)

    def speed_again(self, case: Case) -> CaseRecord:
        """As `speed`, with every process started afresh, of a case that was finished before the run was resumed too."""
        self.lanes.drop(case)
        self.finished = {key: record for key, record in self.finished.items() if key != (case.id, case.measure)}
        return self.speed(case)

    def speed(self, case: Case) -> CaseRecord:
        """Interleaved pairs against dense torch fp32, and against the best dense control."""

        def measure() -> dict[str, Any]:
            assert case.workload is not None
            if reason := no_generator(case.compressor, case):
                raise Unsupported(reason)
            artifact = self._artifact(case)
            settings = self.settings
            self.lanes.prepare(case)
            standing = self.supervision.standing(case)
            test = SpeedTest(case.speed_target, alpha=ALPHA, tau=standing.tau, budget=settings.budget.pairs)
            with self.stage("measure speed", case.id) as report, contextlib.ExitStack() as stack:
                stack.enter_context(self.supervision.alone(case.hardware, report))
                best = self.lanes.control(case)
                reference = self.lanes.dense(case)
                lane = self.lanes.own(artifact, case)
                stack.callback(lane.close)
                other = best if best is not None and best.name != case.compressor_id else None
                shared = [reference, *([other] if other else [])]
                for one in shared:
                    one.begin()
                inputs = secrets.randbits(32)  # nobody can have remembered what nobody could know
                try:
                    with self.supervision.watched(case, standing) as watched:
                        pairs, judged = speed.measure(
                            reference, lane, other, test, settings.budget, seed=settings.seed, inputs=inputs,
                            progress=report,
                        )  # fmt: skip
                except WorkerError:  # whichever of them it was: the next case starts with live ones
                    self.lanes.drop(case)
                    raise
                bytes_read = lane.bytes_read() if case.workload.kind == "decode" else None
            tokens = same_tokens(reference, lane) if case.workload.generates else {}
            check = check_tokens if case.workload.generates else check_passes
            checked = check(lane, artifact, case, self.prepared, inputs)
            askew = {one.name: told for one in (*shared, lane) if (told := one.account.faults())}
            if not askew:  # else the seconds are not believed anyhow
                self._possible(case, artifact, lane, pairs.compressed, watched)
            measures, floor = _rates(case.workload, pairs.compressed), None
            if bytes_read is not None:
                floor = floor_of(bytes_read, standing, watched.conditions.probes if watched.conditions else ())
                measures["bytes_per_token"] = Measure(value=bytes_read)
            if floor is not None:
                share = floor.share(statistics.median(pairs.compressed) / case.own_workload(case.workload).new_tokens)
                measures["bandwidth_floor_share"] = Measure(value=share)
            measures |= {"speedup": measure_of(judged, case.speed_target)}
            reason = judged.reason
            # What the machine was like may be accepted by an option; that times do not add up may not.
            spoilt = "; ".join(f"{name}: {', '.join(told)}" for name, told in askew.items()) or watched.spoilt
            if spoilt:
                reason = f"{spoilt}; {reason}"
                measures["speedup"] = dataclasses.replace(
                    measures["speedup"], verdict=str(Verdict.UNQUALIFIED), reason=reason
                )
            if other is not None:
                measures["speedup_vs_control"] = _ratio(*estimate(pairs.control, pairs.compressed, 2 * ALPHA))
            elif best is not None:
                measures["speedup_vs_control"] = Measure(value=1.0, reason="this is the best control")
            return {
                "verdict": measures["speedup"].verdict,
                "reason": reason,
                "measures": measures,
                "evidence": {
                    "pairs": judged.pairs,
                    "decided_at": judged.decided_at,
                    "alpha": ALPHA,
                    **watched.evidence(),
                    **_own(case.workload, case.own_workload(case.workload)),
                    "control": best.name if best else None,
                    **({"greedy": tokens} if tokens else {}),
                    **({"floor": floor.evidence()} if floor else {}),
                    "checked": checked,
                    "outside": {"dense": reference.account.to_json(), "compressed": lane.account.to_json()},
                    "inputs": inputs,
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

    def _possible(
        self, case: Case, artifact: Artifact, lane: Lane, seconds: Sequence[float], watched: Watched
    ) -> None:  # fmt: skip
        """Raises PressbenchError where the machine cannot have done in these seconds what the artifact executes."""
        assert case.workload is not None
        probes = watched.conditions.probes if watched.conditions else ()
        ceiling = ceiling_of(watched.standing, probes)
        if ceiling is None:
            return
        inputs, workload = self.prepared.inputs_path(case.asked_as), case.own_workload(case.workload)
        executed = self.prepared.executed(artifact, inputs, workload, case.hardware)
        passes = case.workload.new_tokens if case.workload.kind == "decode" else 1
        if executed and (why := impossible(executed, passes, statistics.median(seconds), ceiling, case.hardware)):
            raise PressbenchError(f"{lane.name}: {why}")

    def _artifact(self, case: Case) -> Artifact:
        return self.prepared.artifact(case.compressor, case.model, case.hardware, case.asked)

    # -- records ---------------------------------------------------------------------------------

    def _record(self, case: Case, measure: Callable[[], dict[str, Any]]) -> CaseRecord:
        """Run `measure`; whatever goes wrong in it becomes the record's verdict, with its reason. What was finished
        before a run was resumed is not measured again."""
        if stored := self.finished.get((case.id, case.measure)):
            return stored
        started = time.perf_counter()
        artifact: Artifact | None = None
        try:
            found = measure()
            artifact = found.pop("artifact")
            found["evidence"] = {
                **found.get("evidence", {}), "measured_on": self.prepared.measured_on(case.model)
            }  # fmt: skip
        except Unsupported as error:
            found = {"verdict": str(Verdict.UNSUPPORTED), "reason": str(error)}
        except Occupied as error:
            found = {"verdict": str(Verdict.UNQUALIFIED), "reason": str(error)}
        except (PressbenchError, ArtifactError, ResultsError) as error:
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
            workload=case.workload.name if case.workload else None,
            seconds={"case": round(time.perf_counter() - started, 3)},
            recipe=tuple(
                {k: v for k, v in step.items() if k != "structure"} for step in (artifact.recipe if artifact else [])
            ),
            artifact=artifact.digest if artifact else None,
            fingerprint=self.prepared.fingerprint(case.hardware)["hash"],
            ended=now(),
            **found,
        )


def _rates(workload: Workload, seconds: Sequence[float]) -> dict[str, Measure]:
    """Absolute rates of the compressed model, by the median slot: for a reader, never judged."""
    if not workload.generates or not workload.tokens:
        return {}
    usual = statistics.median(seconds)
    rates = {"tokens_per_second": Measure(value=workload.tokens / usual)}
    if workload.kind == "prefill":
        return rates | {"seconds_to_first_token": Measure(value=usual)}
    return rates | {"seconds_per_token": Measure(value=usual / workload.new_tokens)}


def _work(executed: Executed) -> dict[str, Measure]:
    return {
        "operations": Measure(value=executed.total),
        "weight_bytes_read": Measure(value=executed.weight_bytes),
    }


def _own(workload: Workload, own: Workload) -> dict[str, Any]:
    """Evidence where an artifact makes other tokens of the same texts."""
    return {"own_workload": own.name} if own != workload else {}


def _taken(memory: Memory) -> dict[str, Measure]:
    return {
        "peak_memory_bytes": Measure(value=memory.peak),
        "memory_growth_bytes": Measure(value=memory.growth),
        "first_answer_seconds": Measure(value=memory.waits.first_answer),
    }


def _ratio(value: float, low: float, high: float) -> Measure:
    return Measure(value=value, low=low, high=high if math.isfinite(high) else None)
