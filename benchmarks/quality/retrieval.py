"""Retrieval: for each query the document whose embedding is nearest, right or wrong, paired with the dense model's.

Queries and documents are the examples of one split. Labels, (examples,), are for a query the place of its document
among the documents, and NOT_SCORED for a document. Embeddings are the mean of the last hidden states over what is no
padding (Reimers and Gurevych 2019), or the first of them, and are compared as the model is made to be used: by cosine
unless it says otherwise.
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

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]


@dataclass(frozen=True)
class Retrieval(Quality):
    """Outputs are hidden states, (examples, tokens, width). `accuracy` is recall@1, beside it `mrr`, the mean of one
    over the right document's rank (Voorhees 1999). pooling: of a text's hidden states, their mean or the first.
    similarity: of two embeddings; the distances are taken with a minus, as sentence-transformers does."""

    pooling: Literal["mean", "cls"] = "mean"
    similarity: Similarity = "cosine"

    bound: ClassVar[str] = "accuracy_drop"
    output: ClassVar[str] = "last_hidden_state"
    one_by_one: ClassVar[bool] = False  # a query is held against every document
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement"})

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        if self.pooling == "cls":
            pooled = outputs[:, 0]
        else:
            mask = batch.inputs["attention_mask"].numpy()[..., None].astype(np.float32)
            pooled = (outputs * mask).sum(axis=1) / mask.sum(axis=1)
        return {"embeddings": _unit(pooled) if self.similarity == "cosine" else pooled}

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        assert test.labels is not None
        labels = test.labels.numpy()
        truth = labels[labels != NOT_SCORED]
        before, after = (self._nearest(answers, labels) for answers in (dense, compressed))
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
        right = int((self._nearest(dense, wanted).first == truth).sum())
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
        before, after = (self._nearest(answers, wanted).first for answers in (dense, compressed))
        return agreement(before, after, bounds)

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        before, after = usual["embeddings"], other["embeddings"]
        worst = float(1 - (_unit(before) * _unit(after)).sum(axis=1).min())
        found, told = {"examples": len(before), "cosine_distance": worst}, f"turns by more than {worst:.1e}"
        if self.similarity != "cosine":  # then lengths count as well
            longer = np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
            found["length_change"] = float(np.abs(longer - 1).max())
            told += f" or changes its length by more than {found['length_change']:.1e}"
        return found, f"no embedding {told}"

    def _nearest(self, answers: Answers, labels: np.ndarray) -> _Found:
        queries = labels != NOT_SCORED
        embeddings = answers["embeddings"]
        near = _compared(embeddings[queries], embeddings[~queries], self.similarity)
        right = near[np.arange(len(near)), labels[queries]]
        # A tie counts against it: a model that gives every text one embedding would be right everywhere else.
        return _Found(near.argmax(axis=1), (near >= right[:, None]).sum(axis=1))

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


def _unit(embeddings: np.ndarray) -> np.ndarray:
    found: np.ndarray = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return found


def _compared(queries: np.ndarray, documents: np.ndarray, similarity: Similarity) -> np.ndarray:
    """(queries, documents), higher for what is nearer."""
    if similarity in ("cosine", "dot"):  # a cosine is the product of what has length 1
        found: np.ndarray = queries @ documents.T
        return found
    from scipy.spatial.distance import cdist

    return -np.asarray(cdist(queries, documents, "cityblock" if similarity == "manhattan" else "euclidean"))
