"""What translation and summarisation have in common: an encoder reads a text, a decoder writes another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from benchmarks.quality.scoring import Quality
from benchmarks.quality.text_generation import TextGeneration
from benchmarks.quality.text_scores import unseen
from benchmarks.zoo import owners_run
from benchmarks.zoo.own import texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import DataError, Table
from benchmarks.zoo.owners_run import OwnersRun, by_generate, loaded, tokens_of
from benchmarks.zoo.workload import Workload
from compressors.interface import NOT_SCORED, Examples, InputSpec

MOST, MOST_NEW = 512, 128
LANGUAGE_TOKENS = ("mbart", "m2m_100", "nllb_moe", "plbart")
"""Architectures that are told the language by a token, which is not taken yet."""


class TextToText(Kind):
    """The model is fed the reference while it trains or is timed, and writes by itself when it is scored."""

    heads: ClassVar[tuple[str, ...]] = ("ForConditionalGeneration", "MTModel")
    roles: ClassVar[tuple[str, ...]] = ("source", "target")
    bound: ClassVar[str] = "score_drop"
    distinct: ClassVar[tuple[str, ...]] = ("source",)
    test_examples: ClassVar[int] = 200
    training_examples: ClassVar[int] = 256
    flip_examples: ClassVar[int] = 8
    metric: ClassVar[Literal["chrf", "rougeL"]]

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        if model.config["model_type"] in LANGUAGE_TOKENS:
            raise ModelError(
                f"{model.said}: {model.config['model_type']} wants a token for the language, not taken yet"
            )
        rows: list[Row] = [
            {
                "source": said.prefix + texts.clean(table, columns["source"], index),
                "target": texts.clean(table, columns["target"], index),
                "place": table.at(index),
            }
            for index in range(len(table.rows))
        ]
        return Read(rows)

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        places, refuse = [row["place"] for row in every], said.too_long == "refuse"
        source = texts.length(
            texts.token_ids(tokenizer, [row["source"] for row in every]), places, model, tokenizer,
            wanted=said.tokens, most=MOST, refuse=refuse,
        )  # fmt: skip
        target = texts.length(
            _target_ids(tokenizer, [row["target"] for row in every]), places, model, tokenizer,
            wanted=said.new_tokens, most=MOST_NEW, refuse=refuse,
        )  # fmt: skip
        start, end = _start_and_end(model)
        inputs = {
            "input_ids": InputSpec("int64", ("batch", "sequence")),
            "attention_mask": InputSpec("int64", ("batch", "sequence")),
            "decoder_input_ids": InputSpec("int64", ("batch", "decoder_sequence")),
        }
        metric = said.metric or self.metric
        if why := unseen(metric, [row["target"] for row in every]):
            raise DataError(f"{every[0]['place'].partition(':')[0]}: {why}")
        settings = {
            "tokens": source.tokens, "new_tokens": target.tokens, "start": start, "end": end,
            "metric": metric, "forbidden": _forbidden(model.folder, tokenizer, end), **_forced(model),
        }  # fmt: skip
        notes = [*source.notes, *(f"references: {note}" for note in target.notes)]
        return Fitted(settings, inputs, (*notes, "answers are written greedily, the likeliest token each time"))

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        inputs = texts.padded(tokenizer, settings["tokens"], ("input_ids", "attention_mask"), rows["source"])
        labels = torch.full((len(rows["target"]), settings["new_tokens"]), NOT_SCORED, dtype=torch.int64)
        for number, ids in enumerate(_target_ids(tokenizer, rows["target"])):
            kept = torch.tensor(ids[: settings["new_tokens"]])
            labels[number, : len(kept)] = kept
        # What the decoder has before it at each position: the start, then the reference up to there.
        shifted = torch.roll(labels, 1, dims=1)
        shifted[:, 0] = settings["start"]
        inputs["decoder_input_ids"] = shifted.masked_fill(shifted == NOT_SCORED, tokenizer.pad_token_id)
        return Examples(inputs, labels)

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        tokenizer, prefix = owners_run.tokenizer(model.folder), _prefix(model, self.name)
        suspects = [
            f"generation_config.json has {key} = {value}"
            for key, value in _generation(model.folder).items()
            if key.startswith("forced_") and value is not None
        ]
        if prefix and not rows["source"][0].startswith(prefix):
            suspects.append(f"config.json has the prefix {prefix!r} for {self.name}: say prefix = {prefix!r}")
        given = [text if text.startswith(prefix) else prefix + text for text in rows["source"]]
        prepared = map(tokens_of(tokenizer, ("input_ids", "attention_mask"), settings["tokens"]), given)
        owned = loaded(whole, model.architecture)
        return by_generate(owned, prepared, settings["new_tokens"], suspects=tuple(suspects))

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return TextGeneration(
            metric=settings["metric"], new_tokens=settings["new_tokens"], end_token=settings["end"],
            tokenizer=str(folder), forbidden=tuple(settings["forbidden"]), first_token=settings["first"],
            last_token=settings["last"],
        )  # fmt: skip

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        return (Workload(8, tokens),), (Workload(1, tokens), Workload(32, tokens))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": row["source"]}


def _target_ids(tokenizer: Any, targets: Sequence[str]) -> list[list[int]]:
    return list(tokenizer(text_target=list(targets), truncation=False, padding=False, verbose=False)["input_ids"])


def _generation(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _start_and_end(model: Checkpoint) -> tuple[int, int]:
    """The token that a text begins with and the one that ends it."""
    said = {**model.config, **{k: v for k, v in _generation(model.folder).items() if v is not None}}
    found = []
    for key in ("decoder_start_token_id", "eos_token_id"):
        value = said.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if value is None and key == "decoder_start_token_id":
            value = said.get("bos_token_id")
        if not isinstance(value, int):
            raise ModelError(f"{model.said}/config.json: without {key}, which generating needs")
        found.append(value)
    return found[0], found[1]


def _forced(model: Checkpoint) -> dict[str, int | None]:
    """The tokens that the model's own settings put first, and in the last place of a text too long."""
    said = _generation(model.folder) or model.config  # a folder without the former is of an older transformers
    found: dict[str, int | None] = {}
    for place, key in (("first", "forced_bos_token_id"), ("last", "forced_eos_token_id")):
        value = said.get(key)
        if not isinstance(value, int | None):
            raise ModelError(f"{model.said}: {key} is {value!r}: one token alone is taken")
        found[place] = value
    return found


def _prefix(model: Checkpoint, task: str) -> str:
    """What the folder says is put before each text for a task; empty where it says nothing."""
    of_task = (model.config.get("task_specific_params") or {}).get(task) or {}
    return str(of_task.get("prefix") or model.config.get("prefix") or "")


def _forbidden(folder: Path, tokenizer: Any, end: int) -> list[int]:
    """Tokens that the model's own settings never let it say."""
    words = _generation(folder).get("bad_words_ids") or []
    return sorted({word[0] for word in words if isinstance(word, list) and len(word) == 1 and word[0] != end})
