"""Embedding retrieval: for each query the document that belongs to it, among all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.retrieval import Retrieval
from benchmarks.quality.scoring import Quality
from benchmarks.zoo import owners_run
from benchmarks.zoo.own import texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import Table
from benchmarks.zoo.owners_run import OwnersRun, by_calls, loaded, tokens_of
from benchmarks.zoo.workload import Workload
from compressors.interface import NOT_SCORED, Examples

MOST = 256
MODULES = "modules.json"
QUERIES, DOCUMENTS = ("query",), ("document", "passage", "corpus")
"""Prompts that sentence-transformers puts before queries and documents without being asked."""


class EmbeddingRetrieval(Kind):
    """Query and document are embedded by themselves, pooled as the model's folder says, and compared by cosine."""

    name: ClassVar[str] = "embedding-retrieval"
    heads: ClassVar[tuple[str, ...]] = ("Model",)
    roles: ClassVar[tuple[str, ...]] = ("query", "document")
    distinct: ClassVar[tuple[str, ...]] = ("query", "document")
    test_examples: ClassVar[int] = 500
    training_examples: ClassVar[int] = 500

    def fits(self, architecture: str) -> bool:
        return architecture.endswith("Model") and not architecture.endswith(("LMHeadModel", "MTModel"))

    def settled(self, model: Checkpoint) -> Checkpoint:
        """What sentence-transformers wrote beside the model is followed, or the model refused."""
        said = _read(model.folder / "config_sentence_transformers.json")
        similarity = said.get("similarity_fn_name")
        if similarity not in (None, "cosine"):
            raise ModelError(
                f"{model.said}: config_sentence_transformers.json compares by {similarity!r}, which is not taken yet: "
                "cosine alone is"
            )
        prompts = said.get("prompts") or {}
        if (name := said.get("default_prompt_name")) and prompts.get(name):
            raise ModelError(
                f"{model.said}: config_sentence_transformers.json puts the prompt {prompts[name]!r} before each text, "
                "which is not taken yet"
            )
        if name := next((name for name in (*QUERIES, *DOCUMENTS) if prompts.get(name)), None):
            raise ModelError(
                f"{model.said}: config_sentence_transformers.json puts the prompt {prompts[name]!r} before each "
                f"{'query' if name in QUERIES else 'document'}, which is not taken yet"
            )
        if _of_transformer(model.folder).get("do_lower_case") and _tells_capitals(model):
            raise ModelError(
                f"{model.said}: sentence_bert_config.json puts texts into small letters, which its tokenizer does "
                "not, and that is not taken yet"
            )
        pooling(model.folder)
        return model

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        rows: list[Row] = [
            {role: texts.clean(table, columns[role], index) for role in self.roles} | {"place": table.at(index)}
            for index in range(len(table.rows))
        ]
        return Read(rows, notes=(f"{pooling(model.folder)[1]}; rows that share a query or a document count once",))

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        ids = texts.token_ids(tokenizer, [row[role] for role in self.roles for row in every])
        found = texts.length(
            ids, [row["place"] for row in every] * 2, model, tokenizer, wanted=said.tokens,
            most=min(MOST, int(_of_transformer(model.folder).get("max_seq_length") or MOST)),
            refuse=said.too_long == "refuse",
        )  # fmt: skip
        inputs = texts.text_inputs(model, tokenizer)
        settings = {"tokens": found.tokens, "inputs": list(inputs), "pooling": pooling(model.folder)[0]}
        return Fitted(settings, inputs, found.notes)

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        both = [*rows["query"], *rows["document"]]
        places = torch.arange(len(rows["query"]))
        labels = torch.cat([places, torch.full_like(places, NOT_SCORED)])
        return Examples(texts.padded(tokenizer, settings["tokens"], settings["inputs"], both), labels)

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        tokenizer = owners_run.tokenizer(model.folder)
        prepared = map(
            tokens_of(tokenizer, settings["inputs"], settings["tokens"]), [*rows["query"], *rows["document"]]
        )
        return by_calls(
            loaded(whole, model.architecture), prepared, Retrieval.output, suspects=texts.suspects(model), blocks=2
        )

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return Retrieval(settings["pooling"])

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        return (Workload(8, tokens),), (Workload(1, tokens), Workload(32, tokens))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": row["query"]}


def pooling(folder: Path) -> tuple[str, str]:
    """How the hidden states of a text become one: "mean" or "cls", by what sentence-transformers writes beside the
    model; and in words. Raises ModelError where it is another way, or other modules come in between."""
    place = _pooled_in(folder)
    said = _read(folder / place / "config.json")
    modes = {key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on}
    modes |= {said["pooling_mode"]} if isinstance(said.get("pooling_mode"), str) else set()
    if not modes:
        return "mean", "pooled by their mean (the folder does not say how)"
    if modes <= {"cls", "cls_token"}:
        return "cls", "pooled by the first token, as the folder says"
    if modes <= {"mean", "mean_tokens"}:
        return "mean", "pooled by their mean, as the folder says"
    raise ModelError(f"{folder.name}/{place}: pools by {', '.join(sorted(modes))}: mean and cls alone are taken")


def _pooled_in(folder: Path) -> str:
    """The folder that says how it is pooled, by modules.json where there is one. Raises ModelError where that has more
    than the model, its pooling, and a scaling to length 1, which a cosine does not see."""
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        found = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in modules]
    except FileNotFoundError:
        return "1_Pooling"
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{folder.name}/{MODULES}: not readable as a list of modules") from None
    kinds = [kind for kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ModelError(
            f"{folder.name}/{MODULES}: the model is {', '.join(kinds) or 'nothing'}: Transformer, Pooling and "
            "Normalize alone are taken"
        )
    transformer, pooled = found[0][1], found[1][1]
    if transformer not in ("", ".") or Path(pooled).name != pooled:
        raise ModelError(f"{folder.name}/{MODULES}: its modules are in {transformer!r} and {pooled!r}: other folders")
    return pooled


def _of_transformer(folder: Path) -> dict[str, Any]:
    """What sentence-transformers says of texts: how long they are at most, and whether in small letters."""
    return _read(folder / "sentence_bert_config.json")


def _tells_capitals(model: Checkpoint) -> bool:
    tokenizer = texts.tokenizer_of(model.folder, model.said)
    small, large = texts.token_ids(tokenizer, ["a word", "A WORD"])
    return small != large


def _read(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: not readable as JSON: {error}") from None
    return found if isinstance(found, dict) else {}


KIND = EmbeddingRetrieval()
