"""Retrieval: for each query the document whose embedding is nearest, right or wrong, paired with the dense model's.

Queries and documents are the examples of one split. Labels, (examples,), are for a query the place of its document
among the documents, and NOT_SCORED for a document. Nearest is by cosine; embeddings are the mean of the last hidden
states over what is no padding (Reimers and Gurevych 2019), or the first of them, as the model is made to be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.verdicts.judged import measure_of
from compressors.interface import NOT_SCORED, Examples
from results.store.record import Measure


@dataclass(frozen=True)
class Retrieval(Quality):
    """Outputs are hidden states, (examples, tokens, width). `accuracy` is recall@1, beside it `mrr`, the mean of one
    over the right document's rank (Voorhees 1999). pooling: of a text's hidden states, their mean or the first."""

    pooling: Literal["mean", "cls"] = "mean"

    bound: ClassVar[str] = "accuracy_drop"
    output: ClassVar[str] = "last_hidden_state"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement"})

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        if self.pooling == "cls":
            return {"embeddings": outputs[:, 0] / np.linalg.norm(outputs[:, 0], axis=1, keepdims=True)}
        mask = batch.inputs["attention_mask"].numpy()[..., None].astype(np.float32)
        pooled = (outputs * mask).sum(axis=1) / mask.sum(axis=1)
        return {"embeddings": pooled / np.linalg.norm(pooled, axis=1, keepdims=True)}

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        assert test.labels is not None
        labels = test.labels.numpy()
        truth = labels[labels != NOT_SCORED]
        before, after = (_nearest(answers["embeddings"], labels) for answers in (dense, compressed))
        judged = verdicts.accuracy_drop(before.first == truth, after.first == truth, bound)
        right = int((after.first == truth).sum())
        low, high = verdicts.proportion_interval(right, len(truth))
        drop = measure_of(judged, bound)
        return Scored(
            drop.verdict,
            f"recall@1: {judged.reason}; mean reciprocal rank {before.mrr:.4f} to {after.mrr:.4f}",
            {
                "accuracy": Measure(value=right / len(truth), low=low, high=high),
                "accuracy_drop": drop,
                "mrr": Measure(value=after.mrr),
            },
            {
                "examples": len(truth),
                "documents": int((labels == NOT_SCORED).sum()),
                "predictions": after.first.tolist(),
                "dense_predictions": before.first.tolist(),
                "labels": truth.tolist(),
                "ranks": after.ranks.tolist(),
                "dense_ranks": before.ranks.tolist(),
                "dense_mrr": before.mrr,
                "flips": {"correct_to_wrong": judged.correct_to_wrong, "wrong_to_correct": judged.wrong_to_correct},
                "minimum_detectable_drop": judged.minimum_detectable,
                "method": judged.method,
            },
        )

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        assert test.labels is not None
        wanted = test.labels.numpy()
        truth = wanted[wanted != NOT_SCORED]
        documents = int((wanted == NOT_SCORED).sum())
        right = int((_nearest(dense["embeddings"], wanted).first == truth).sum())
        if documents > 1 and verdicts.above_chance(right, len(truth), 1 / documents):
            return None
        return (
            f"the dense model finds {right} of {len(truth)}, not surely more than chance does of {documents} documents"
        )

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        assert test.labels is not None
        wanted = test.labels.numpy()
        before, after = (_nearest(answers["embeddings"], wanted).first for answers in (dense, compressed))
        return agreement(before, after, bounds)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        cosines = (usual["embeddings"] * other["embeddings"]).sum(axis=1)
        worst = float(1 - cosines.min())
        return {"examples": len(cosines), "cosine_distance": worst}, f"no embedding turns by more than {worst:.1e}"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves(examples, bound)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return "sentence-similarity"


@dataclass(frozen=True)
class _Found:
    """By query. first: the nearest document; ranks: of the right one, 1 for the nearest."""

    first: np.ndarray
    ranks: np.ndarray

    @property
    def mrr(self) -> float:
        return float((1 / self.ranks).mean())


def _nearest(embeddings: np.ndarray, labels: np.ndarray) -> _Found:
    queries = labels != NOT_SCORED
    cosines = embeddings[queries] @ embeddings[~queries].T
    right = cosines[np.arange(len(cosines)), labels[queries]]
    # A tie counts against it: a model that gives every text one embedding would be right everywhere else.
    return _Found(cosines.argmax(axis=1), (cosines >= right[:, None]).sum(axis=1))
