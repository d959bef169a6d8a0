"""Who chooses and who judges: no test example does both, and all do one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.matrix.cases import expand
from benchmarks.quality.classification import Classification
from benchmarks.search.trials import CHOOSING, CONFIRMING, Bench, Wanted
from benchmarks.zoo import find_model
from compressors import registry
from compressors.interface import Examples, Hardware

CPU = Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}))
EXAMPLES = 41


class Prepared:
    """Answers of a dense model that is always right, and of one that is wrong wherever it chooses."""

    def __init__(self) -> None:
        self.labels = torch.arange(EXAMPLES) % 3

    def dense(self, model: object) -> Any:
        test = Examples({"input_ids": torch.arange(EXAMPLES)[:, None]}, self.labels)
        return SimpleNamespace(artifact="dense", test=lambda: test)

    def artifact(self, *_: object) -> str:
        return "made"

    def answers(self, artifact: str, *_: object) -> dict[str, np.ndarray]:
        said = self.labels.numpy().copy()
        if artifact == "made":
            said[::2] = (said[::2] + 1) % 3
        return {"predictions": said, "confidence": np.ones(EXAMPLES, dtype=np.float32), "asked-again": np.zeros(16)}


def test_one_half_chooses_and_the_other_judges() -> None:
    model = find_model("vit-digits")
    assert type(model.task.quality) is Classification
    prepared = Prepared()
    run: Any = SimpleNamespace(session=SimpleNamespace(prepared=prepared, evaluated=prepared))
    bench = Bench(run, model, CPU, Wanted(0.2))
    (case,) = expand("accuracy", {"m": registry.build("prune-layers")}, [model], [CPU], {}, "quick")
    lost = {half: bench.judged(case, half) for half in (CHOOSING, CONFIRMING)}
    drops = {half: found.measures["accuracy_drop"].value for half, found in lost.items()}
    assert drops == {CHOOSING: 1.0, CONFIRMING: 0.0}  # each saw its own examples, and none of the other's
    assert sum(found.evidence["examples"] for found in lost.values()) == EXAMPLES
    assert bench.confirm("prune-layers:removed=0.5").measures["accuracy_drop"].value == 0.0
