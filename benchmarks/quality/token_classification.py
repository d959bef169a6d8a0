"""Token classification: the label of each word, right or wrong, paired with the dense model's sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement
from benchmarks.quality.entities import are_tags, f1
from benchmarks.quality.flips import rescored
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.quality.unlike import unlike
from benchmarks.verdicts.judged import measure_of
from compressors.interface import NOT_SCORED, Examples
from results.store.record import Measure


@dataclass(frozen=True)
class TokenClassification(Quality):
    """Outputs are logits, (sentences, tokens, classes); labels are classes, (sentences, tokens), NOT_SCORED wherever a
    word does not begin. `accuracy` is the share of all words that are right.

    labels: the names of the classes; where they are IOB tags, `f1` of the entities stands beside it, as seqeval has it.
    """

    bound: ClassVar[str] = "accuracy_drop"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement"})

    labels: tuple[str, ...] = ()

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        assert batch.labels is not None
        said = outputs.argmax(axis=-1).astype(np.int32)
        return {"predictions": np.where(batch.labels.numpy() != NOT_SCORED, said, NOT_SCORED)}

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        rows, words = _words(test)
        before, after = (_right(answers, test)[rows] for answers in (dense, compressed))
        judged = verdicts.score_drop(before / words, after / words, bound, weights=words, name="accuracy")
        low, high = verdicts.score_interval(after / words, weights=words)
        drop = measure_of(judged, bound)
        measures = {"accuracy": Measure(value=judged.compressed_score, low=low, high=high), "accuracy_drop": drop}
        evidence: dict[str, Any] = {
            "examples": len(rows),
            "right": after.tolist(),
            "dense_right": before.tolist(),
            "words": words.tolist(),
            "minimum_detectable_drop": judged.minimum_detectable,
            "method": judged.method,
        }
        reason = f"{judged.reason}; {int(words.sum())} words"
        if are_tags(self.labels):
            found, usual = self._f1(compressed, test), self._f1(dense, test)
            measures["f1"], evidence["dense_f1"] = Measure(value=found), usual
            reason += f"; F1 of entities {usual:.4f} to {found:.4f}"
        return Scored(drop.verdict, reason, measures, evidence)

    def examples_told(
        self, dense: Answers, compressed: Answers, test: Examples, labels: Sequence[str], shown: Sequence[Any]
    ) -> dict[str, Any]:
        assert test.labels is not None
        words = (test.labels.numpy() != NOT_SCORED).sum(axis=1)
        before, after = _right(dense, test), _right(compressed, test)

        def told(row: int) -> dict[str, str]:
            return {
                "label": f"{words[row]} words",
                "dense": f"{before[row]} right",
                "compressed": f"{after[row]} right",
            }

        return {"flipped": rescored(before, after, told, shown)}

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        assert test.labels is not None
        truth, said = test.labels.numpy(), dense["predictions"]
        words = truth != NOT_SCORED
        counts = np.bincount(truth[words])
        number = int(counts.argmax())
        name = labels[number] if labels else f"class {number}"
        if counts.max() == words.sum():
            return f"all {int(words.sum())} words are {name!r}: whoever says so is right"
        if verdicts.one_answer(said[words]):
            return f"the dense model gives all {int(words.sum())} words one label"
        usual = ((truth == number) & words).sum(axis=1)
        if verdicts.surely_better(_right(dense, test), usual):
            return None
        return (
            f"the dense model is right on {_right(dense, test).sum() / words.sum():.1%} of the words, not surely more "
            f"than the {counts.max() / words.sum():.1%} that always saying {name!r} would be"
        )

    def unlike(self, dense: Answers, compressed: Answers, labels: Sequence[str]) -> str | None:
        words = dense["predictions"] != NOT_SCORED
        return unlike(dense["predictions"][words], compressed["predictions"][words], labels)

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        assert test.labels is not None
        words = test.labels.numpy() != NOT_SCORED
        return agreement(dense["predictions"][words], compressed["predictions"][words], bounds)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        scored = usual["predictions"] != NOT_SCORED
        flips, words = int((usual["predictions"] != other["predictions"])[scored].sum()), int(scored.sum())
        found = {"examples": len(scored), "words": words, "flips": flips}
        return found, f"{flips} of {words} words get another label"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves_score(examples)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return "token-classification"

    def _f1(self, answers: Answers, test: Examples) -> float:
        assert test.labels is not None
        truth = test.labels.numpy()
        return f1(self._tags(truth, truth), self._tags(answers["predictions"], truth))

    def _tags(self, classes: np.ndarray, truth: np.ndarray) -> list[list[str]]:
        return [
            [self.labels[number] for number in row[wanted != NOT_SCORED]]
            for row, wanted in zip(classes, truth, strict=True)
        ]


def _words(test: Examples) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have words, and how many each has."""
    assert test.labels is not None
    words = (test.labels.numpy() != NOT_SCORED).sum(axis=1)
    rows = np.flatnonzero(words)
    return rows, words[rows]


def _right(answers: Answers, test: Examples) -> np.ndarray:
    """How many words of each sentence are right."""
    assert test.labels is not None
    truth = test.labels.numpy()
    right: np.ndarray = ((answers["predictions"] == truth) & (truth != NOT_SCORED)).sum(axis=1)
    return right
