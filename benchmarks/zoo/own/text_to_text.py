"""What translation and summarisation have in common: an encoder reads a text, a decoder writes another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from benchmarks.quality.generation_rules import Rules, processors, rules_of
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
from benchmarks.zoo.workload import Workload, generate
from compressors.interface import NOT_SCORED, Examples, InputSpec

MOST, MOST_NEW = 512, 128
TIMED = 32
"""New tokens of the workloads that generate."""
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
        prefix = _prefix(model, self.name) if said.prefix is None else said.prefix
        notes = (f"{prefix!r} is put before each text, as config.json says",) if said.prefix is None and prefix else ()
        rows: list[Row] = [
            {
                "source": prefix + texts.clean(table, columns["source"], index),
                "target": texts.clean(table, columns["target"], index),
                "place": table.at(index),
            }
            for index in range(len(table.rows))
        ]
        return Read(rows, notes=notes)

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
        start, ends = _start_and_ends(model)
        inputs = {
            "input_ids": InputSpec("int64", ("batch", "sequence")),
            "attention_mask": InputSpec("int64", ("batch", "sequence")),
            "decoder_input_ids": InputSpec("int64", ("batch", "decoder_sequence")),
        }
        metric = said.metric or self.metric
        if why := unseen(metric, [row["target"] for row in every]):
            raise DataError(f"{every[0]['place'].partition(':')[0]}: {why}")
        settings = {
            "tokens": source.tokens, "new_tokens": target.tokens, "start": start, "ends": ends, "metric": metric,
            "rules": _rules(model),
        }  # fmt: skip
        notes = [*source.notes, *(f"references: {note}" for note in target.notes)]
        beams = _generation(model).get("num_beams") or 1
        other = f", where the folder says {beams} beams" if beams != 1 else ""
        return Fitted(settings, inputs, (*notes, f"answers are written greedily, the likeliest token each time{other}"))

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
        suspects = [f"the folder says {name} = {value}" for name, value in _rules(model)]
        if prefix and not rows["source"][0].startswith(prefix):
            suspects.append(f"config.json has the prefix {prefix!r} for {self.name}: say prefix = {prefix!r}")
        given = [text if text.startswith(prefix) else prefix + text for text in rows["source"]]
        prepared = map(tokens_of(tokenizer, ("input_ids", "attention_mask"), settings["tokens"]), given)
        owned = loaded(whole, model.architecture)
        return by_generate(owned, prepared, settings["new_tokens"], suspects=tuple(suspects))

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return TextGeneration(
            metric=settings["metric"], new_tokens=settings["new_tokens"], end_tokens=tuple(settings["ends"]),
            tokenizer=str(folder), rules=rules_of(dict(settings["rules"])),
        )  # fmt: skip

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        more = (Workload(1, tokens), Workload(32, tokens), generate(1, tokens, TIMED))
        return (Workload(8, tokens), generate(8, tokens, TIMED)), more

    def memory_workload(self, settings: Mapping[str, Any]) -> Workload | None:
        return Workload(8, settings["tokens"])

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": row["source"]}


def _target_ids(tokenizer: Any, targets: Sequence[str]) -> list[list[int]]:
    return list(tokenizer(text_target=list(targets), truncation=False, padding=False, verbose=False)["input_ids"])


def _generation(model: Checkpoint) -> Mapping[str, Any]:
    """The model's own settings; a folder without a file of them is of an older transformers, and has them in its
    configuration."""
    path = model.folder / "generation_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return model.config
    except (OSError, ValueError) as error:
        raise ModelError(f"{model.said}/{path.name}: not readable as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{model.said}/{path.name}: must be a JSON object")
    return found


def _start_and_ends(model: Checkpoint) -> tuple[int, list[int]]:
    """The token that a text begins with and those that end one."""
    said = {**model.config, **{k: v for k, v in _generation(model).items() if v is not None}}
    start = next((said[k] for k in ("decoder_start_token_id", "bos_token_id") if said.get(k) is not None), None)
    ends = said.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    for key, values in (("decoder_start_token_id", [start]), ("eos_token_id", ends)):
        if not values or not all(isinstance(value, int) for value in values):
            raise ModelError(f"{model.said}/config.json: without {key}, which generating needs")
    return int(start or 0), ends


def _rules(model: Checkpoint) -> Rules:
    """What the model's own settings forbid and force at each step."""
    try:
        rules = rules_of(_generation(model))
        processors(rules, [0], 2, np.zeros((1, 1)))  # its makers look at the values
        return rules
    except (ValueError, TypeError) as error:
        raise ModelError(f"{model.said}: generation_config.json: {error}") from None


def _prefix(model: Checkpoint, task: str) -> str:
    """What the folder says is put before each text for a task; empty where it says nothing."""
    of_task = (model.config.get("task_specific_params") or {}).get(task) or {}
    return str(of_task.get("prefix") or model.config.get("prefix") or "")
