"""Another model on the same rows: one that is to stand in for a model of one's own, and reads them in its own way, by
its own tokenizer or image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError, look, look_at_config
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.model import LocalWeights, OwnModel
from benchmarks.zoo.own.sentence_transformers import MODULES
from benchmarks.zoo.own.texts import token_ids, tokenizer_of

WHOLE_ANSWERS = frozenset(
    {"text-classification", "multi-label-classification", "image-classification", "embedding-retrieval"}
)
"""Kinds of task with an answer for a row, whatever the row is cut into."""
TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
"""Files that decide what becomes of a text."""
RETRIEVAL = "embedding-retrieval"
TEXTS = ("text", "second", "query", "document")
"""Columns of rows that hold texts."""


def beside(model: OwnModel, name: str, folder: Path, said: str, cache: Cache) -> OwnModel:
    """The model in `folder`, asked the rows that `model` is asked, fed by its own preprocessing. said: how a person
    named the folder. Raises ModelError where it cannot stand in for `model`."""
    kind = model.task.of_kind
    found = kind.settled(look(folder, said, allow_pickle=False, quantized=True))
    if not kind.fits(found.architecture):
        raise ModelError(f"{said}: {found.architecture} has no head for {kind.name}")
    _check_labels(found, model, said)
    if (found.folder / MODULES).is_file() != (model.folder / MODULES).is_file() and kind.name == RETRIEVAL:
        raise ModelError(
            f"{said}: of it and {model.said} one alone says how its states are pooled ({MODULES}): save both with "
            "sentence-transformers, or neither"
        )
    rows = {split: [dict(row) for row in rows] for split, rows in model.task.load(cache).items()}
    if kind.name not in WHOLE_ANSWERS:
        task, inputs, notes, made = replace(model.task, folder=folder.absolute()), model.inputs, [], 1.0
        if not _same_preprocessing(found.folder, model.folder):
            dense = Checkpoint(model.said, model.folder, model.configuration, model.task.labels)
            other = kind.fit_beside(rows, found, dense, int(model.task.settings.get("tokens") or 0))
            if other is None:
                raise ModelError(
                    f"{said}: it has another tokenizer than {model.said}, or none, and {kind.name} is scored token by "
                    "token: those of two tokenizers are not comparable"
                )
            made = _tokens_made(rows["test"], found, model)
            task, inputs = replace(task, settings=other.settings), other.inputs
            notes = [*other.notes, f"makes {made:.2f} tokens for each of {model.said}"]
    else:
        made = _tokens_made(rows["test"], found, model)
        fitted = kind.fit(rows, found, _asked(model, said))
        most = model.task.settings.get("tokens")
        if most is not None and fitted.settings["tokens"] > (most_here := max(1, round(most * made))):
            # As much of a text as the dense model reads, and no more.
            fitted = kind.fit(rows, found, _asked(model, said, most_here))
        task = replace(model.task, settings=fitted.settings, folder=folder.absolute())
        inputs, notes = fitted.inputs, list(fitted.notes)
        if made != 1:
            notes.append(f"makes {made:.2f} tokens for each of {model.said}")
        ours = {key: value for key, value in model.task.settings.items() if key not in ("tokens", "inputs")}
        notes += [
            f"{key}: {value}, where {model.said} has {ours.get(key)}"
            for key, value in fitted.settings.items()
            if key not in ("tokens", "inputs") and value != ours.get(key)
        ]
    return replace(
        model, name=f"{model.name}~{name}", stands_in=model.name, tokens_made=made, task=task, inputs=inputs, said=said,
        also=(), configuration=found.config, weights=LocalWeights(said, folder), folder=folder.absolute(),
        understood={**model.understood, "notes": notes},
    )  # fmt: skip


def _asked(model: OwnModel, said: str, tokens: int | None = None) -> Declaration:
    return Declaration(model=said, data=str(model.understood["data"]), tokens=tokens)


def _tokens_made(rows: Sequence[Mapping[str, Any]], found: Checkpoint, model: OwnModel) -> float:
    """Tokens of all texts of the rows by its tokenizer, for each that the dense model's makes, nothing cut."""
    texts = [str(row[key]) for row in rows for key in TEXTS if isinstance(row.get(key), str)]
    if not texts or not model.task.settings.get("tokens"):
        return 1.0
    counts = [
        sum(map(len, token_ids(tokenizer_of(folder, said), texts)))
        for folder, said in ((found.folder, found.said), (model.folder, model.said))
    ]
    return counts[0] / max(1, counts[1])


def _check_labels(found: Checkpoint, model: OwnModel, said: str) -> None:
    """Raises ModelError where outputs do not mean what those of the dense model mean, in their order."""
    if not model.task.labels:
        return
    dense = look_at_config(model.folder, model.said).labels
    if len(found.labels) != len(dense):
        raise ModelError(f"{said}: it has {len(found.labels)} outputs, {model.said} {len(dense)}")
    if _unnamed(found.labels):
        return
    meant = model.task.labels if _unnamed(dense) else dense
    theirs, ours = ([label.casefold() for label in labels] for labels in (found.labels, meant))
    if theirs == ours or len(ours) != len(theirs):
        return
    number = next(i for i, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
    why = "its outputs are in another order" if set(theirs) == set(ours) else "it was trained for other labels"
    raise ModelError(f"{said}: it calls output {number} {theirs[number]!r}, {model.said} {ours[number]!r}: {why}")


def _unnamed(labels: Sequence[str]) -> bool:
    return all(label.casefold().startswith("label_") or label.isdigit() for label in labels)


def _same_preprocessing(one: Path, other: Path) -> bool:
    found = [
        {name: (folder / name).read_bytes() for name in TOKENIZERS if (folder / name).is_file()}
        for folder in (one, other)
    ]
    return bool(found[0]) and found[0] == found[1]
