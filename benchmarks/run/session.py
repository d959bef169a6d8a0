"""One run of the suite: has a case measured on what was prepared for it, and makes its record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.matrix.cases import Case, role
from benchmarks.measure.exclusive import Occupied
from benchmarks.measure.worker import WorkerError
from benchmarks.run.measures import accuracy, footprint, speed
from benchmarks.run.resume import Finished
from benchmarks.run.workbench import Workbench
from benchmarks.verdicts import Verdict
from compressors.artifact import Artifact, ArtifactError
from compressors.interface import PressbenchError, Unsupported
from results.store.record import CaseRecord
from results.store.store import ResultsError, now


@dataclass
class Session(Workbench):
    """A run in progress. `run` is the id that records carry. finished: what an earlier part of it has measured."""

    run: str
    finished: Finished = field(default_factory=dict)

    def accuracy(self, case: Case) -> CaseRecord:
        """See `measures.accuracy`."""
        return self._record(case, lambda: accuracy.measure(self, case))

    def footprint(self, case: Case) -> CaseRecord:
        """See `measures.footprint`."""
        return self._record(case, lambda: footprint.measure(self, case))

    def speed(self, case: Case) -> CaseRecord:
        """See `measures.speed`."""
        return self._record(case, lambda: speed.measure(self, case))

    def unmeasured(self, case: Case, reason: str) -> CaseRecord:
        """The record of a case whose speed was not taken: unqualified, never a pass."""

        def measure() -> dict[str, Any]:
            artifact = self.artifact(case)
            return {"verdict": str(Verdict.UNQUALIFIED), "reason": reason, "artifact": artifact}

        return self._record(case, measure)

    def speed_again(self, case: Case) -> CaseRecord:
        """As `speed`, with every process started afresh, of a case that was finished before the run was resumed too."""
        self.lanes.drop(case)
        self.finished = {key: record for key, record in self.finished.items() if key != (case.id, case.measure)}
        return self.speed(case)

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
                **found.get("evidence", {}), "measured_on": self.prepared.measured_on(case.model),
                **({"reference": told} if (told := self.prepared.dense(case.model).told) else {}),
            }  # fmt: skip
        except Unsupported as error:
            found = {"verdict": str(Verdict.UNSUPPORTED), "reason": str(error)}
        except Occupied as error:
            found = {"verdict": str(Verdict.UNQUALIFIED), "reason": str(error)}
        except (PressbenchError, ArtifactError, ResultsError) as error:
            found = {"verdict": str(Verdict.ERROR), "reason": str(error)}
        except WorkerError as error:
            ours = error.seconds is not None and error.seconds == self.settings.stage_seconds
            reason = f"{error} (--stage-limit)" if ours else str(error)
            found = {"verdict": str(Verdict.ERROR), "reason": reason, "evidence": {"detail": error.detail}}
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
