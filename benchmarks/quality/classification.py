"""Classes: the predicted class of each example, right or wrong, paired with the dense model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks import verdicts
from benchmarks.quality.flips import flipped
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.verdicts.judged import measure_of
from compressors.interface import Examples
from results.store.record import Measure

HUB_TASKS = {"input_ids": "text-classification", "pixel_values": "image-classification"}


@dataclass(frozen=True)
class Classification(Quality):
    """Outputs are logits, (examples, classes); labels are class indices, (examples,)."""

    bound: ClassVar[str] = "accuracy_drop"

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        return {"predictions": outputs.argmax(axis=1)}

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        from benchmarks.quality.metrics.accuracy import (
            accuracy,  # `evaluate` takes 2 s, which a listing need not wait for
        )

        assert test.labels is not None
        truth, before, after = test.labels.numpy(), dense["predictions"], compressed["predictions"]
        judged = verdicts.accuracy_drop(before == truth, after == truth, bound)
        low, high = verdicts.proportion_interval(int((after == truth).sum()), len(truth))
        drop = measure_of(judged, bound)
        value = accuracy(after.tolist(), truth.tolist())
        return Scored(
            drop.verdict,
            judged.reason,
            {"accuracy": Measure(value=value, low=low, high=high), "accuracy_drop": drop},
            {
                "examples": len(truth),
                "predictions": after.tolist(),
                "dense_predictions": before.tolist(),
                "labels": truth.tolist(),
                "flips": {"correct_to_wrong": judged.correct_to_wrong, "wrong_to_correct": judged.wrong_to_correct},
                "minimum_detectable_drop": judged.minimum_detectable,
                "method": judged.method,
            },
        )

    def examples_told(
        self, dense: Answers, compressed: Answers, test: Examples, labels: Sequence[str], shown: Sequence[Any]
    ) -> dict[str, Any]:
        assert test.labels is not None
        found = flipped(test.labels.numpy(), dense["predictions"], compressed["predictions"], labels, shown)
        return {"label_names": list(labels), "flipped": found}

    def doubt(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        assert test.labels is not None
        truth = test.labels.numpy()
        return worse_than_one_answer(int((dense["predictions"] == truth).sum()), truth, labels)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        flips = int((usual["predictions"] != other["predictions"]).sum())
        examples = len(usual["predictions"])
        return {"examples": examples, "flips": flips}, f"{flips} of {examples} predictions differ"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves(examples, bound)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return next((HUB_TASKS[name] for name in inputs if name in HUB_TASKS), None)


def worse_than_one_answer(right: int, truth: np.ndarray, labels: Sequence[str]) -> str | None:
    """What is wrong where `right` of `truth`, class indices, (examples,), is surely less than its most frequent class
    alone would give: labels matched to the wrong outputs, most often. None where nothing is."""
    counts = np.bincount(truth)
    _, high = verdicts.proportion_interval(right, len(truth))
    if high >= (most := counts.max() / len(truth)):
        return None
    number = int(counts.argmax())
    class_ = labels[number] if labels else f"class {number}"
    return (
        f"the dense model is right on {right / len(truth):.1%} of {len(truth)}, less than the {most:.1%} that always "
        f"saying {class_!r} would be: are the labels in the order of the head's outputs, the inputs those it knows?"
    )
