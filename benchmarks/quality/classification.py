"""Classes: the predicted class of each example, right or wrong, paired with the dense model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement, joined
from benchmarks.quality.flips import flipped
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.quality.unlike import unlike
from benchmarks.verdicts.judged import measure_of
from compressors.interface import Examples
from results.store.record import Measure

HUB_TASKS = {"input_ids": "text-classification", "pixel_values": "image-classification"}


@dataclass(frozen=True)
class Classification(Quality):
    """Outputs are logits, (examples, classes); labels are class indices, (examples,)."""

    bound: ClassVar[str] = "accuracy_drop"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement", "worst_class_drop", "ece_rise"})

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        return {"predictions": outputs.argmax(axis=1), "confidence": confidence(outputs)}

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

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        assert test.labels is not None
        truth, said = test.labels.numpy(), dense["predictions"]
        return no_better_than_one_class(said == truth, truth, said, labels)

    def unlike(self, dense: Answers, compressed: Answers, labels: Sequence[str]) -> str | None:
        return unlike(dense["predictions"], compressed["predictions"], labels)

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        assert test.labels is not None
        truth, before, after = test.labels.numpy(), dense["predictions"], compressed["predictions"]
        parts = [agreement(before, after, bounds)]
        limit = bounds.get("worst_class_drop")
        worst = verdicts.worst_class_drop(truth, before, after, limit)
        name = labels[worst.worst] if worst.worst < len(labels) else f"class {worst.worst}"
        told = worst.reason.replace("worst class:", f"worst class {name!r}:")
        drops = [{"class": number, "examples": count, "drop": drop} for number, count, drop in worst.drops]
        parts.append(
            Beside(
                {"worst_class_drop": dataclasses.replace(measure_of(worst, limit), reason=told)},
                {"worst_class": name, "class_drops": drops},
                (told,) if limit is not None else (),
            )
        )
        sides = [(answers["confidence"], said == truth) for answers, said in ((dense, before), (compressed, after))]
        limit = bounds.get("ece_rise")
        rise = verdicts.calibration_rise(sides[0], sides[1], limit)
        errors = [verdicts.calibration_error(*side) for side in sides]
        means = [float(side[0].mean()) for side in sides]
        parts.append(
            Beside(
                {
                    "ece": Measure(value=errors[1]),
                    "ece_rise": measure_of(rise, limit),
                    "confidence": Measure(value=means[1]),
                },
                {"dense_ece": errors[0], "dense_confidence": means[0]},
                (rise.reason,) if limit is not None else (),
            )
        )
        return joined(parts)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        flips = int((usual["predictions"] != other["predictions"]).sum())
        examples = len(usual["predictions"])
        return {"examples": examples, "flips": flips}, f"{flips} of {examples} predictions differ"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves(examples, bound)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return next((HUB_TASKS[name] for name in inputs if name in HUB_TASKS), None)


def confidence(logits: np.ndarray) -> np.ndarray:
    """(examples,) float32: the probability of the class that was said, by softmax. logits: (examples, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: np.ndarray = 1 / np.exp(shifted).sum(axis=1)
    return found.astype(np.float32)


def no_better_than_one_class(
    right: np.ndarray, truth: np.ndarray, said: np.ndarray, labels: Sequence[str]
) -> str | None:  # fmt: skip
    """Why a model that is `right` on these, (examples,), has nothing to lose; None where it has. truth, said: class
    indices."""
    counts = np.bincount(truth)
    number = int(counts.argmax())
    name = labels[number] if labels else f"class {number}"
    most = counts.max() / len(truth)
    if most == 1:
        return f"all {len(truth)} test examples are {name!r}: whoever says so is right"
    if verdicts.one_answer(said):
        answer = labels[int(said[0])] if labels else f"class {int(said[0])}"
        return f"the dense model says {answer!r} to all {len(truth)} examples"
    if verdicts.surely_better(right, truth == number):
        return None
    share = f"the dense model is right on {right.mean():.1%} of {len(truth)}"
    _, high = verdicts.proportion_interval(int(right.sum()), len(truth))
    if high < most:
        return (
            f"{share}, less than the {most:.1%} that always saying {name!r} would be: are the labels in the order of "
            "the head's outputs, the inputs those it knows?"
        )
    return f"{share}, not surely more than the {most:.1%} that always saying {name!r} would be"
