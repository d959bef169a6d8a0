"""Labels that do not exclude each other: the set of labels of each example, right as a whole or not, paired with the
dense model's.

What is judged is the share of examples whose labels are all right, which scikit-learn calls the accuracy of several
labels. Of single decisions most are zeros where labels are rare, and a model that never says anything would be right
on nearly all of them. Whole sets have that too where most examples have no label: so no model passes that is not surely
better than the one set that is right most often, and F1 stands beside, which the zeros do not enter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement, joined
from benchmarks.quality.classification import no_better_than_one_class
from benchmarks.quality.flips import flipped
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.verdicts import Verdict
from benchmarks.verdicts.judged import measure_of
from compressors.interface import Examples
from results.store.record import Measure

NONE = "no label"
ABSENT = -1
"""In the place of a label that was not said."""


@dataclass(frozen=True)
class MultiLabel(Quality):
    """Outputs are logits, (examples, labels); labels are 0 and 1, (examples, labels) float32. A label is said where its
    sigmoid is above 0.5, each on its own, as transformers' pipeline has it. The worst label is that of whose examples
    fewest are still found."""

    bound: ClassVar[str] = "accuracy_drop"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement", "worst_class_drop"})

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        return {"predictions": (outputs > 0).astype(np.uint8)}  # the sigmoid is above 0.5 where the logit is above 0

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        sets = _sets(dense, compressed, test)
        judged = verdicts.accuracy_drop(sets.before == sets.truth, sets.after == sets.truth, bound)
        right = sets.after == sets.truth
        low, high = verdicts.proportion_interval(int(right.sum()), len(right))
        drop, reason = measure_of(judged, bound), judged.reason
        usual = np.bincount(sets.truth).argmax()
        if drop.verdict == Verdict.PASS and not verdicts.surely_better(right, sets.truth == usual):
            reason += "; but it is not surely better than one answer to everything, which would be as near"
            drop = dataclasses.replace(drop, verdict=str(Verdict.INCONCLUSIVE), reason=reason)
        truth = _marks(test)
        now, was = (f1_scores(truth, answers["predictions"]) for answers in (compressed, dense))
        reason += f"; micro F1 {was[0]:.4f} to {now[0]:.4f}, macro F1 {was[1]:.4f} to {now[1]:.4f}"
        return Scored(
            drop.verdict,
            reason,
            {
                "accuracy": Measure(value=float(right.mean()), low=low, high=high),
                "accuracy_drop": drop,
                "micro_f1": Measure(value=now[0]),
                "macro_f1": Measure(value=now[1]),
            },
            {
                "examples": len(right),
                "predictions": _as_text(compressed["predictions"]),
                "dense_predictions": _as_text(dense["predictions"]),
                "labels": _as_text(truth),
                "flips": {"correct_to_wrong": judged.correct_to_wrong, "wrong_to_correct": judged.wrong_to_correct},
                "dense_micro_f1": was[0],
                "dense_macro_f1": was[1],
                "minimum_detectable_drop": judged.minimum_detectable,
                "method": judged.method,
            },
        )

    def examples_told(
        self, dense: Answers, compressed: Answers, test: Examples, labels: Sequence[str], shown: Sequence[Any]
    ) -> dict[str, Any]:
        sets = _sets(dense, compressed, test)
        return {
            "label_names": list(labels),
            "flipped": flipped(sets.truth, sets.before, sets.after, sets.names(labels), shown),
        }

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        sets = _sets(dense, dense, test)
        if told := no_better_than_one_class(sets.before == sets.truth, sets.truth, sets.before, sets.names(labels)):
            return told
        # Who knows which texts have a label, and none of the labels, gets more sets right than one answer does.
        truth = _marks(test)
        right = (truth == dense["predictions"]).sum(axis=1)
        usual = (truth == (truth.mean(axis=0) > 0.5)).sum(axis=1)
        if verdicts.surely_better(right, usual):
            return None
        return (
            f"the dense model is right on {right.sum() / truth.size:.1%} of {truth.size} labels, not surely more than "
            f"the {usual.sum() / truth.size:.1%} of one answer to each: are the labels in the order of the head's "
            "outputs?"
        )

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        sets = _sets(dense, compressed, test)
        parts = [agreement(sets.before, sets.after, bounds)]
        had = _marks(test).astype(bool)
        numbers = np.broadcast_to(np.arange(had.shape[1]), had.shape)[had]  # of each label that an example has
        if len(numbers):
            said = [np.where(one["predictions"][had] > 0, numbers, ABSENT) for one in (dense, compressed)]
            limit = bounds.get("worst_class_drop")
            worst = verdicts.worst_class_drop(numbers, said[0], said[1], limit)
            name = _name(labels, worst.worst)
            told = worst.reason.replace("worst class:", f"worst label {name!r}, of those that have it:")
            drops = [
                {"class": number, "name": _name(labels, number), "examples": count, "drop": drop}
                for number, count, drop in worst.drops
            ]
            parts.append(
                Beside(
                    {"worst_class_drop": dataclasses.replace(measure_of(worst, limit), reason=told)},
                    {"worst_class": name, "class_drops": drops, "label_f1": self._by_label(compressed, test, labels)},
                    (told,) if limit is not None else (),
                )
            )
        return joined(parts)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        flips = int((usual["predictions"] != other["predictions"]).any(axis=1).sum())
        examples = len(usual["predictions"])
        return {"examples": examples, "flips": flips}, f"{flips} of {examples} examples get other labels"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves(examples, bound)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return "text-classification"

    def _by_label(self, answers: Answers, test: Examples, labels: Sequence[str]) -> dict[str, float]:
        found = label_f1(_marks(test), answers["predictions"])
        return {_name(labels, number): float(value) for number, value in enumerate(found)}


def label_f1(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """F1 of each label, (labels,); 0 for one that nobody has and nobody says. truth, said: 0 and 1, (examples,
    labels)."""
    hits, named = (truth * said).sum(axis=0, dtype=float), (truth + said).sum(axis=0, dtype=float)
    return np.asarray(2 * hits / np.maximum(named, 1))


def f1_scores(truth: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Micro and macro F1: of all decisions together, and the mean of the labels', as scikit-learn has them. truth,
    said: 0 and 1, (examples, labels)."""
    together = 2 * float((truth * said).sum()) / max(1.0, float(truth.sum(dtype=float) + said.sum(dtype=float)))
    return together, float(label_f1(truth, said).mean())


@dataclass(frozen=True)
class _Sets:
    """Each set of labels that occurs as a class. every: (sets, labels). truth, before, after: their numbers,
    (examples,)."""

    every: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def names(self, labels: Sequence[str]) -> list[str]:
        return [" + ".join(_name(labels, int(n)) for n in np.flatnonzero(one)) or NONE for one in self.every]


def _sets(dense: Answers, compressed: Answers, test: Examples) -> _Sets:
    rows = np.concatenate([_marks(test), dense["predictions"], compressed["predictions"]])
    every, numbers = np.unique(rows, axis=0, return_inverse=True)
    truth, before, after = np.split(np.asarray(numbers).reshape(-1), 3)
    return _Sets(every, truth, before, after)


def _marks(test: Examples) -> np.ndarray:
    assert test.labels is not None
    return test.labels.numpy().astype(np.uint8)


def _as_text(marks: np.ndarray) -> list[str]:
    """Each example's numbers of labels, `0+3`, for a record; what is compared is the whole."""
    return ["+".join(map(str, np.flatnonzero(row))) for row in marks]


def _name(labels: Sequence[str], number: int) -> str:
    return labels[number] if number < len(labels) else f"label {number}"
