"""Recall and reciprocal rank against scikit-learn's neighbours, and against models that must not look good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from benchmarks.quality.retrieval import Retrieval
from compressors.interface import NOT_SCORED, Examples

QUALITY = Retrieval()
QUERIES, DOCUMENTS, WIDTH = 400, 450, 16


@pytest.fixture
def split() -> Examples:
    places = torch.randperm(DOCUMENTS, generator=torch.Generator().manual_seed(0))[:QUERIES]
    labels = torch.cat([places, torch.full((DOCUMENTS,), NOT_SCORED)])
    return Examples({"input_ids": torch.zeros(len(labels), 1, dtype=torch.int64)}, labels)


def embeddings(split: Examples, noise: float) -> dict[str, np.ndarray]:
    """Documents somewhere on the sphere, each query near its own."""
    rng = np.random.default_rng(1)
    assert split.labels is not None
    documents = rng.normal(size=(DOCUMENTS, WIDTH))
    queries = documents[split.labels[:QUERIES].numpy()] + noise * rng.normal(size=(QUERIES, WIDTH))
    found = np.concatenate([queries, documents])
    return {"embeddings": (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)}


def _product(a: np.ndarray, b: np.ndarray) -> float:
    return -float(a @ b)


@pytest.mark.parametrize(
    ("similarity", "metric"),
    [("cosine", "cosine"), ("dot", _product), ("euclidean", "euclidean"), ("manhattan", "manhattan")],
)
def test_ranks_are_those_of_another_library(split: Examples, similarity: Any, metric: Any) -> None:
    answers = embeddings(split, 1.0)
    if similarity != "cosine":  # lengths that matter
        answers = {"embeddings": answers["embeddings"] * np.linspace(0.5, 1.5, len(answers["embeddings"]))[:, None]}
    found = Retrieval("mean", similarity).judge(answers, answers, split, None)
    assert split.labels is not None
    truth = split.labels[:QUERIES].numpy()
    space = NearestNeighbors(n_neighbors=DOCUMENTS, metric=metric, algorithm="brute")
    space.fit(answers["embeddings"][QUERIES:])
    order = space.kneighbors(answers["embeddings"][:QUERIES], return_distance=False)
    ranks = (order == truth[:, None]).argmax(axis=1) + 1
    assert 0.1 < (ranks == 1).mean() < 0.99
    assert found.measures["accuracy"].value == pytest.approx((ranks == 1).mean())
    assert found.measures["mrr"].value == pytest.approx((1 / ranks).mean(), rel=1e-6)
    assert found.evidence["examples"] == QUERIES and found.evidence["documents"] == DOCUMENTS


def test_a_model_that_gives_every_text_one_embedding_finds_nothing(split: Examples) -> None:
    constant = {"embeddings": np.full((QUERIES + DOCUMENTS, WIDTH), WIDTH**-0.5, np.float32)}
    found = QUALITY.judge(embeddings(split, 0.1), constant, split, 0.05)
    assert found.verdict == "fail"
    assert found.measures["mrr"].value == pytest.approx(1 / DOCUMENTS)


def test_lengths_are_kept_where_they_are_compared(split: Examples) -> None:
    """By cosine a model whose embeddings are all scaled is the same; by dot product one that scales some is not."""
    states = np.random.default_rng(3).normal(size=(3, 2, WIDTH)).astype(np.float32)
    batch = Examples({"attention_mask": torch.ones(3, 2, dtype=torch.int64)})
    for similarity, kept in (("cosine", False), ("dot", True), ("euclidean", True)):
        quality = Retrieval("cls", similarity)  # type: ignore[arg-type]
        usual, other = quality.keep(states, batch), quality.keep(3 * states, batch)
        assert np.allclose(usual["embeddings"], states[:, 0]) is kept
        told = quality.unsteadiness(usual, other)[0]
        assert told["cosine_distance"] == pytest.approx(0, abs=1e-6)
        assert told.get("length_change") == (pytest.approx(2, rel=1e-5) if kept else None)


def test_a_little_noise_passes_and_much_of_it_fails(split: Examples) -> None:
    dense = embeddings(split, 0.2)
    assert QUALITY.judge(dense, embeddings(split, 0.21), split, 0.02).verdict == "pass"
    worse = QUALITY.judge(dense, embeddings(split, 2.0), split, 0.02)
    assert worse.verdict == "fail" and worse.reason.startswith("recall@1: ")


def test_padding_is_no_part_of_an_embedding() -> None:
    states = np.random.default_rng(2).normal(size=(3, 5, WIDTH)).astype(np.float32)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    found = QUALITY.keep(states, Examples({"attention_mask": mask}))["embeddings"]
    for row, length in enumerate((2, 5, 1)):
        mean = states[row, :length].mean(axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), rtol=1e-5)
