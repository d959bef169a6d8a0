"""Text classification: one text or two, one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.classification import Classification
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.own import labels, several_labels, texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import DataError, Table
from benchmarks.zoo.owners_run import OwnersRun, by_pipeline
from benchmarks.zoo.workload import Workload
from compressors.interface import Examples
from compressors.skeleton import skeleton

MOST = 512


class TextClassification(Kind):
    """A text, or two as in natural language inference, and the class they belong to."""

    name: ClassVar[str] = "text-classification"
    heads: ClassVar[tuple[str, ...]] = ("ForSequenceClassification",)
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
    optional: ClassVar[tuple[str, ...]] = ("second",)
    distinct: ClassVar[tuple[str, ...]] = ("text", "second")

    def settled(self, model: Checkpoint) -> Checkpoint:
        problem = model.config.get("problem_type")
        if problem == several_labels.PROBLEM:
            raise ModelError(
                f"{model.said}: config.json says problem_type {problem}: its outputs do not exclude each other; the "
                f"task is {several_labels.TASK}"
            )
        if problem not in (None, "single_label_classification"):
            raise ModelError(
                f"{model.said}: config.json says problem_type {problem}: its outputs are no classes, and not scored "
                "here"
            )
        if len(model.labels) == 1:
            raise ModelError(
                f"{model.said}: its head has one output, which is a number and no class: a regression, not scored here"
            )
        return self.padded_alike(model)

    def padded_alike(self, model: Checkpoint) -> Checkpoint:
        """A head on the last token looks for the padding that config.json names. In a batch it must be that which the
        tokenizer pads with: one text at a time, as its owner runs it, there is none."""
        own, pads = model.config.get("pad_token_id"), texts.tokenizer_of(model.folder, model.said).pad_token_id
        if own == pads or "score" not in dict(skeleton(model.config, device="meta").named_children()):
            return model
        note = f"config.json names the padding token {own}, the tokenizer {pads}: the tokenizer's is taken"
        return replace(model, config={**model.config, "pad_token_id": pads}, notes=(*model.notes, note))

    def claims(self, model: Checkpoint) -> bool:
        return self.fits(model.architecture) and model.config.get("problem_type") != several_labels.PROBLEM

    def expects(self, table: Table, model: Checkpoint, said: Declaration) -> None:
        if found := several_labels.seen(table, model, said.columns.get("label")):
            raise DataError(
                f"{found}: labels that do not exclude each other are scored where config.json has problem_type "
                f'{several_labels.PROBLEM}, or task = "{several_labels.TASK}" is said'
            )

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        found = labels.match(table, columns["label"], model, said.labels)
        rows: list[Row] = []
        for index, row in enumerate(table.rows):
            new: Row = {"text": texts.clean(table, columns["text"], index)}
            if "second" in columns:
                new["second"] = texts.clean(table, columns["second"], index)
            rows.append({**new, "label": found.number(row[columns["label"]]), "place": table.at(index)})
        return Read(rows, found.names, (f"labels {found.how}: {', '.join(found.names[:12])}",))

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        ids = texts.token_ids(tokenizer, *self.texts_of({key: [row[key] for row in every] for key in every[0]}))
        found = texts.length(
            ids, [row["place"] for row in every], model, tokenizer, wanted=said.tokens, most=MOST,
            refuse=said.too_long == "refuse",
        )  # fmt: skip
        inputs = texts.text_inputs(model, tokenizer, pairs="second" in every[0])
        return Fitted({"tokens": found.tokens, "inputs": list(inputs)}, inputs, found.notes)

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        inputs = texts.padded(tokenizer, settings["tokens"], settings["inputs"], *self.texts_of(rows))
        return Examples(inputs, torch.tensor(list(rows["label"]), dtype=torch.int64))

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        given = [
            dict(zip(("text", "text_pair"), both, strict=False)) for both in zip(*self.texts_of(rows), strict=True)
        ]
        return by_pipeline(
            "text-classification", given, str(whole), "logits", suspects=texts.suspects(model),
            prepare={"truncation": True, "max_length": settings["tokens"]},
        )  # fmt: skip

    def texts_of(self, rows: Mapping[str, Sequence[Any]]) -> list[Sequence[str]]:
        """The texts of rows, by column, and the second ones where there are."""
        return [rows[key] for key in ("text", "second") if key in rows]

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return Classification()

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        return (Workload(8, tokens),), (Workload(1, tokens), Workload(32, tokens))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": " ⟂ ".join(str(row[key]) for key in ("text", "second") if key in row)}


KIND = TextClassification()
