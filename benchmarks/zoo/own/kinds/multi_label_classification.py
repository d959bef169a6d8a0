"""Multi-label classification: one text or two, and any number of labels, each decided on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.multi_label import MultiLabel
from benchmarks.quality.scoring import Quality
from benchmarks.zoo.own import several_labels, texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Read, Row
from benchmarks.zoo.own.kinds.text_classification import TextClassification
from benchmarks.zoo.own.several_labels import PROBLEM
from benchmarks.zoo.own.table import Table
from compressors.interface import Examples


class MultiLabelClassification(TextClassification):
    """A text, or two, and the labels that it has: several, one or none. The text is read, cut and run as that of one
    label is; transformers gives such a head a sigmoid an output."""

    name: ClassVar[str] = several_labels.TASK
    roles: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("second", several_labels.ROLE)

    def claims(self, model: Checkpoint) -> bool:
        return self.fits(model.architecture) and model.config.get("problem_type") == PROBLEM

    def settled(self, model: Checkpoint) -> Checkpoint:
        found = model.config.get("problem_type")
        if found not in (None, PROBLEM):
            raise ModelError(
                f"{model.said}: config.json says problem_type {found}: each label is decided on its own under {PROBLEM}"
            )
        if found is None:
            if len(model.labels) == 1:
                raise ModelError(
                    f"{model.said}: its head has one output and config.json no problem_type: a regression, to "
                    "transformers"
                )
            note = "each label is decided on its own, as task says; config.json has no problem_type"
            config = {**model.config, "problem_type": PROBLEM}
            model = replace(model, config=config, notes=(*model.notes, note))
        return self.padded_alike(model)

    def expects(self, table: Table, model: Checkpoint, said: Declaration) -> None:
        """Whatever the data has, `read` says."""

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        found = several_labels.find(table, columns, model, said.labels)
        rows: list[Row] = []
        for index, marks in enumerate(found.marks):
            new: Row = {"text": texts.clean(table, columns["text"], index)}
            if "second" in columns:
                new["second"] = texts.clean(table, columns["second"], index)
            rows.append({**new, "marks": marks, "place": table.at(index)})
        empty = sum(not any(marks) for marks in found.marks)
        counts = ", ".join(
            f"{name} {sum(each):,}" for name, each in zip(found.names, zip(*found.marks, strict=True), strict=True)
        )
        return Read(rows, found.names, (f"labels {found.how}: {counts}; {empty:,} of {len(rows):,} rows have none",))

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        inputs = texts.padded(tokenizer, settings["tokens"], settings["inputs"], *self.texts_of(rows))
        return Examples(inputs, torch.tensor(list(rows["marks"]), dtype=torch.float32))

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return MultiLabel()


KIND = MultiLabelClassification()
