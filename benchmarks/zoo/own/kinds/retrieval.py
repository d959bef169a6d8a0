"""Embedding retrieval: for each query the document that belongs to it, among all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.retrieval import Retrieval
from benchmarks.quality.scoring import Quality
from benchmarks.zoo import owners_run
from benchmarks.zoo.own import pairs, texts
from benchmarks.zoo.own.checkpoint import Checkpoint
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.sentence_transformers import followed, longest, pooling, prompts, similarity
from benchmarks.zoo.own.table import Table
from benchmarks.zoo.owners_run import OwnersRun, by_calls, loaded, tokens_of
from benchmarks.zoo.workload import Workload
from compressors.interface import NOT_SCORED, Examples

MOST = 256
NO_PROMPTS = ("", "")


class EmbeddingRetrieval(Kind):
    """Query and document are embedded by themselves, pooled and compared as the model's folder says."""

    name: ClassVar[str] = "embedding-retrieval"
    heads: ClassVar[tuple[str, ...]] = ("Model",)
    roles: ClassVar[tuple[str, ...]] = ("query", "document")
    optional: ClassVar[tuple[str, ...]] = (pairs.ROLE,)
    distinct: ClassVar[tuple[str, ...]] = ("query", "document")
    test_examples: ClassVar[int] = 500
    training_examples: ClassVar[int] = 500

    def fits(self, architecture: str) -> bool:
        return architecture.endswith("Model") and not architecture.endswith(("LMHeadModel", "MTModel"))

    def settled(self, model: Checkpoint) -> Checkpoint:
        """What sentence-transformers wrote beside the model is followed, or the model refused."""
        followed(model)
        return model

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        matching, notes = pairs.matches(table, columns)
        rows: list[Row] = [
            {role: texts.clean(table, columns[role], index) for role in self.roles} | {"place": table.at(index)}
            for index in matching
        ]
        return Read(
            rows,
            notes=(
                f"{pooling(model.folder)[1]}; {similarity(model.folder)[1]}; rows that share a query or a document "
                "count once",
                *_told(prompts(model.folder)),
                *notes,
            ),
        )

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        before = prompts(model.folder)
        ids = texts.token_ids(tokenizer, _behind(before, *([row[role] for row in every] for role in self.roles)))
        found = texts.length(
            ids, [row["place"] for row in every] * 2, model, tokenizer, wanted=said.tokens,
            most=min(MOST, longest(model.folder) or MOST),
            refuse=said.too_long == "refuse",
        )  # fmt: skip
        inputs = texts.text_inputs(model, tokenizer)
        settings = {
            "tokens": found.tokens,
            "inputs": list(inputs),
            "pooling": pooling(model.folder)[0],
            "similarity": similarity(model.folder)[0],
            **({"prompts": list(before)} if any(before) else {}),
        }
        return Fitted(settings, inputs, found.notes)

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        both = _behind(settings.get("prompts", NO_PROMPTS), rows["query"], rows["document"])
        places = torch.arange(len(rows["query"]))
        labels = torch.cat([places, torch.full_like(places, NOT_SCORED)])
        return Examples(texts.padded(tokenizer, settings["tokens"], settings["inputs"], both), labels)

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        tokenizer = owners_run.tokenizer(model.folder)
        both = _behind(prompts(model.folder), rows["query"], rows["document"])
        prepared = map(tokens_of(tokenizer, settings["inputs"], settings["tokens"]), both)
        return by_calls(
            loaded(whole, model.architecture), prepared, Retrieval.output, suspects=texts.suspects(model), blocks=2
        )

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return Retrieval(settings["pooling"], settings["similarity"])

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        return (Workload(8, tokens),), (Workload(1, tokens), Workload(32, tokens))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": row["query"]}


def _behind(before: Sequence[str], queries: Sequence[str], documents: Sequence[str]) -> list[str]:
    """Queries, then documents, each behind its prompt."""
    return [prompt + text for prompt, role in zip(before, (queries, documents), strict=True) for text in role]


def _told(before: Sequence[str]) -> list[str]:
    return [
        f"{prompt!r} is put before each {role}, as the folder says" if prompt else f"nothing before each {role}"
        for role, prompt in zip(EmbeddingRetrieval.roles, before, strict=True)
        if any(before)
    ]


KIND = EmbeddingRetrieval()
