"""What measures work with: what is prepared and evaluated once for all cases, the lanes and who watches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.cache import Cache
from benchmarks.matrix.cases import Case
from benchmarks.preparation.evaluation import Evaluation
from benchmarks.preparation.preparation import Preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.run.lanes import Lanes
from benchmarks.run.supervision import Supervision
from benchmarks.zoo.workload import Workload
from compressors.artifact import Artifact


@dataclass
class Workbench:
    """Of one run."""

    cache: Cache
    settings: Settings
    stage: Stages

    def __post_init__(self) -> None:
        self.prepared = Preparation(self.cache, self.settings, self.stage)
        self.evaluated = Evaluation(self.prepared)
        self.lanes = Lanes(self.prepared)
        self.supervision = Supervision(self.prepared)

    def artifact(self, case: Case) -> Artifact:
        """What the case is about. Raises what `Preparation.artifact` does."""
        return self.prepared.artifact(case.compressor, case.model, case.hardware, case.asked)

    def close(self) -> None:
        """End every worker."""
        self.lanes.close()
        self.supervision.close()


def own_workload(workload: Workload, own: Workload) -> dict[str, Any]:
    """Evidence where an artifact makes other tokens of the same texts."""
    return {"own_workload": own.name} if own != workload else {}
