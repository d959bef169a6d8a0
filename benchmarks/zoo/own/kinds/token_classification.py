"""Token classification: a label for each word, as in named entity recognition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.quality.scoring import Quality
from benchmarks.quality.token_classification import TokenClassification
from benchmarks.zoo import owners_run
from benchmarks.zoo.own import labels, texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import DataError, Table
from benchmarks.zoo.owners_run import OwnersRun, by_calls, loaded, tokens_of
from benchmarks.zoo.workload import Workload
from compressors.interface import NOT_SCORED, Examples

MOST = 256


class TokenClasses(Kind):
    """Words and their tags. A word of several pieces is scored at its first one."""

    name: ClassVar[str] = "token-classification"
    heads: ClassVar[tuple[str, ...]] = ("ForTokenClassification",)
    roles: ClassVar[tuple[str, ...]] = ("words", "tags")
    distinct: ClassVar[tuple[str, ...]] = ("words",)
    test_examples: ClassVar[int] = 500

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        words, tags = columns["words"], columns["tags"]
        split = Table(
            table.where,
            table.columns,
            [{words: _items(row.get(words)), tags: _items(row.get(tags))} for row in table.rows],
            table.names,
            table.places,
        )
        found = labels.match(split, tags, model, said.labels, inner=True)
        rows: list[Row] = []
        for index, row in enumerate(split.rows):
            if len(row[words]) != len(row[tags]):
                raise DataError(f"{table.at(index)}: {len(row[words])} words and {len(row[tags])} tags")
            if empty := [place for place, word in enumerate(row[words]) if not str(word).strip()]:
                raise DataError(f"{table.at(index)}: word {empty[0] + 1} in column {words!r} is empty")
            numbers = [found.number(tag) for tag in row[tags]]
            rows.append({"words": [str(word) for word in row[words]], "tags": numbers, "place": table.at(index)})
        return Read(rows, found.names, (f"tags {found.how}: {', '.join(found.names[:12])}",))

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        tokenizer = texts.tokenizer_of(model.folder, model.said)
        if not tokenizer.is_fast:
            raise ModelError(f"{model.said}: its tokenizer does not tell which piece is of which word (tokenizer.json)")
        every = [row for split in rows.values() for row in split]
        blanks, as_text = _joined(tokenizer, [row["words"] for row in every])
        ids = texts.token_ids(tokenizer, _spaced([row["words"] for row in every], blanks), is_split_into_words=True)
        found = texts.length(
            ids, [row["place"] for row in every], model, tokenizer, wanted=said.tokens, most=MOST,
            refuse=said.too_long == "refuse",
        )  # fmt: skip
        inputs = texts.text_inputs(model, tokenizer)
        settings = {
            "tokens": found.tokens, "inputs": list(inputs), "names": list(model.labels), "blanks": blanks,
            "as_text": as_text,
        }  # fmt: skip
        notes = () if as_text else ("its tokenizer makes other tokens of words by themselves than of a whole text",)
        return Fitted(settings, inputs, (*found.notes, *notes))

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        tokenizer = texts.tokenizer_of(folder, str(folder))
        encoded = tokenizer(
            _spaced(rows["words"], settings["blanks"]), is_split_into_words=True, truncation=True,
            max_length=settings["tokens"], padding="max_length", padding_side="right", return_tensors="pt",
        )  # fmt: skip
        found = torch.full_like(encoded["input_ids"], NOT_SCORED)
        for number, tags in enumerate(rows["tags"]):
            before = None
            for place, word in enumerate(encoded.word_ids(number)):
                if word is not None and word != before:
                    found[number, place] = tags[word]
                before = word
        return Examples({name: encoded[name] for name in settings["inputs"]}, found)

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        tokenizer = owners_run.tokenizer(model.folder)
        split = not settings["as_text"]
        prepared = tokens_of(tokenizer, settings["inputs"], settings["tokens"], is_split_into_words=split)
        given = (list(words) if split else " ".join(words) for words in rows["words"])
        return by_calls(loaded(whole, model.architecture), map(prepared, given), "logits")

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return TokenClassification(tuple(settings["names"]))

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        tokens = settings["tokens"]
        return (Workload(8, tokens),), (Workload(1, tokens), Workload(32, tokens))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": " ".join(row["words"])}


def _items(value: Any) -> list[Any]:
    """A list, or words between blanks as a CSV file has them."""
    return value.split() if isinstance(value, str) else list(value if value is not None else ())


def _spaced(sentences: Iterable[Sequence[str]], blanks: bool) -> list[list[str]]:
    """Words, with the blank before each but the first where the tokenizer takes that for a part of the word."""
    return [[f" {word}" if blanks and place else word for place, word in enumerate(words)] for words in sentences]


def _joined(tokenizer: Any, sentences: Sequence[Sequence[str]]) -> tuple[bool, bool]:
    """Whether words are given with the blanks before them, and whether the tokens then are those of the whole text, as
    the tokenizer was trained to read it: byte-level pairs tell a word within a text from one that begins it, and
    without its blank each word would be read as a beginning."""
    whole = texts.token_ids(tokenizer, [" ".join(words) for words in sentences])
    alike = []
    for blanks in (False, True):
        ids = texts.token_ids(tokenizer, _spaced(sentences, blanks), is_split_into_words=True)
        alike.append(sum(one == other for one, other in zip(ids, whole, strict=True)))
    blanks = alike[True] > alike[False]
    return blanks, alike[blanks] == len(sentences)


KIND = TokenClasses()
