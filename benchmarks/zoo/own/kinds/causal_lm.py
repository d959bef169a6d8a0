"""Causal language modelling: perplexity of texts, each by itself or joined and cut into windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.language_modelling import LanguageModelling, next_tokens
from benchmarks.quality.scoring import Quality
from benchmarks.zoo import owners_run
from benchmarks.zoo.own import texts
from benchmarks.zoo.own.as_read import as_read, check_places, ends_a_text, lost, scored_bytes
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import DataError, Table, missing
from benchmarks.zoo.owners_run import OwnersRun, by_calls, loaded, tokens_of
from benchmarks.zoo.workload import Workload, decode, prefill
from compressors.interface import Examples

MOST = 512
WINDOW = 2048
"""Tokens of a window of joined texts, as most published tables have it, where the model has so many positions."""
FEW = 4
"""Texts that are also run as the model's owner would: a vocabulary at each position is much to compare."""
CONTEXT, NEW = 128, 16
"""Of the workloads that are timed."""


class CausalLm(Kind):
    """The first token of a text, or of a window, is given; each that follows is scored."""

    name: ClassVar[str] = "causal-lm"
    heads: ClassVar[tuple[str, ...]] = ("ForCausalLM", "LMHeadModel")
    roles: ClassVar[tuple[str, ...]] = ("text",)
    bound: ClassVar[str] = "perplexity_rise"
    distinct: ClassVar[tuple[str, ...]] = ("text",)
    test_examples: ClassVar[int] = 128
    fewest_tested: ClassVar[int] = 50
    training_examples: ClassVar[int] = 256
    evaluation_batch: ClassVar[int] = 4
    flip_examples: ClassVar[int] = 16
    also: ClassVar[tuple[str, ...]] = (
        "prune-layers-20",
        "weight-only-8bit",
        "weight-only-4bit-g64",
        "weight-only-openvino-8bit",
        "weight-only-openvino-4bit-g64",
    )

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        column = columns["text"]
        if said.join is not None:  # an empty line is a part of the whole
            found = [str(row.get(column) or "") for row in table.rows]
            return Read([{"text": text, "place": table.at(index)} for index, text in enumerate(found)])
        rows = [
            {"text": texts.clean(table, column, index), "place": table.at(index)} for index in range(len(table.rows))
        ]
        return Read(rows)

    def in_order(self, said: Declaration) -> bool:
        return said.join is not None

    def arrange(self, rows: Sequence[Row], model: Checkpoint, said: Declaration) -> Sequence[Row]:
        if said.join is None:
            return rows
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        whole = said.join.join(row["text"] for row in rows)
        if missing(whole):
            raise DataError(f"{rows[0]['place']}: nothing but empty texts")
        (ids,) = texts.token_ids(tokenizer, [whole])
        size = said.tokens or min(WINDOW, model.longest or WINDOW)
        windows = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
        if not windows:
            raise DataError(
                f"{rows[0]['place']}: all texts together are {len(ids)} tokens, less than a window ({size})"
            )
        return [
            {"text": tokenizer.decode(window[:64]), "ids": window, "place": f"window {number + 1}"}
            for number, window in enumerate(windows)
        ]

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        joined = "ids" in every[0]
        ids = [row["ids"] for row in every] if joined else texts.token_ids(tokenizer, [row["text"] for row in every])
        places = [row["place"] for row in every]
        if short := [i for i, text in enumerate(ids) if len(text) < 2]:
            raise DataError(f"{places[short[0]]}: a text of one token has nothing to predict; leave it out")
        wanted = len(ids[0]) if joined else said.tokens
        found = texts.length(ids, places, model, tokenizer, wanted=wanted, most=MOST, refuse=said.too_long == "refuse")
        inputs = texts.text_inputs(model, tokenizer)
        return Fitted({"tokens": found.tokens, "inputs": list(inputs)}, inputs, found.notes)

    def fit_beside(
        self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, dense: Checkpoint, tokens: int
    ) -> Fitted | None:
        if any("ids" in row for split in rows.values() for row in split):
            raise ModelError(
                f"{model.said}: joined texts are cut into windows of {dense.said}'s tokens: leave out join"
            )
        own, theirs = (texts.tokenizer_of(one.folder, one.said) for one in (model, dense))
        for tokenizer, one in ((own, model), (theirs, dense)):
            check_places(tokenizer, one.said)
        if ends_a_text(own) != ends_a_text(theirs):
            raise ModelError(f"{model.said}: of it and {dense.said} one alone puts a token behind every text")
        every = [row for split in rows.values() for row in split]
        cut = as_read(theirs, [row["text"] for row in every], tokens)
        for tokenizer, one in ((own, model), (theirs, dense)):
            if gone := lost(tokenizer, cut):
                raise ModelError(
                    f"{one.said}: its tokens do not hold all of {len(gone):,} of {len(cut):,} texts, first "
                    f"{every[gone[0]]['place']}: bits per byte would be of two texts"
                )
        ids, places = texts.token_ids(own, cut), [row["place"] for row in every]
        texts.check_vocabulary(ids, places, model, own)
        longest = max(map(len, ids))
        if model.longest is not None and longest > model.longest:
            raise ModelError(
                f"{model.said}: what {dense.said} reads in {tokens} tokens is up to {longest} of its own, and it has "
                f"positions for {model.longest}: say tokens = {int(tokens * model.longest / longest)}"
            )
        tested = as_read(theirs, [row["text"] for row in rows["test"]], tokens)
        lengths = list(zip(scored_bytes(theirs, tested), scored_bytes(own, tested), strict=True))
        if short := [i for i, pair in enumerate(lengths) if not all(pair)]:
            raise DataError(f"{rows['test'][short[0]]['place']}: a text of one token has nothing to predict")
        inputs = texts.text_inputs(model, own)
        settings = {
            "tokens": longest, "inputs": list(inputs), "lengths": [list(pair) for pair in lengths],
            "as_read": {"folder": str(dense.folder), "said": dense.said, "tokens": tokens},
        }  # fmt: skip
        return Fitted(settings, inputs, ("judged by bits per byte of the same texts, as its tokens are others",))

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        if "ids" in rows:
            ids = torch.tensor([list(window) for window in rows["ids"]], dtype=torch.int64)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        else:
            tokenizer = texts.tokenizer_of(folder, str(folder))
            inputs = texts.padded(tokenizer, settings["tokens"], settings["inputs"], _texts(rows, settings))
        return Examples(inputs, next_tokens(**inputs))

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        given: Iterable[dict[str, Any]]
        if "ids" in rows:
            given = ({"input_ids": torch.tensor([list(window)])} for window in rows["ids"][:FEW])
        else:
            tokenizer = owners_run.tokenizer(model.folder)
            given = map(tokens_of(tokenizer, settings["inputs"], settings["tokens"]), _texts(rows, settings)[:FEW])
        return by_calls(loaded(whole, model.architecture), given, "logits", suspects=texts.suspects(model))

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return LanguageModelling(tuple((int(ours), int(own)) for ours, own in settings.get("lengths", ())))

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        return (prefill(1, CONTEXT), decode(1, CONTEXT, NEW)), (prefill(8, CONTEXT), decode(8, CONTEXT, NEW))

    def memory_workload(self, settings: Mapping[str, Any]) -> Workload | None:
        return Workload(1, settings["tokens"])


def _texts(rows: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Sequence[str]:
    """The texts, or as much of them as another model reads whose place is taken."""
    if (other := settings.get("as_read")) is None:
        return rows["text"]
    return as_read(texts.tokenizer_of(Path(other["folder"]), other["said"]), rows["text"], other["tokens"])


KIND = CausalLm()
