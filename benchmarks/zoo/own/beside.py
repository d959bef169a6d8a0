"""Another model on the same rows: one that is to stand in for a model of one's own, and reads them in its own way, by
its own tokenizer or image processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.cache import Cache
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError, look
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.model import LocalWeights, OwnModel

WHOLE_ANSWERS = frozenset(
    {"text-classification", "multi-label-classification", "image-classification", "embedding-retrieval"}
)
"""Kinds of task with an answer for a row, whatever the row is cut into."""


def beside(model: OwnModel, name: str, folder: Path, said: str, cache: Cache) -> OwnModel:
    """The model in `folder`, asked the rows that `model` is asked, fed by its own preprocessing. said: how a person
    named the folder. Raises ModelError where it cannot stand in for `model`."""
    kind = model.task.of_kind
    found = kind.settled(look(folder, said, allow_pickle=False, quantized=True))
    if not kind.fits(found.architecture):
        raise ModelError(f"{said}: {found.architecture} has no head for {kind.name}")
    _check_labels(found, model, said)
    rows = {
        split: [dict(row) for row in rows] for split, rows in model.task.load(cache).items()
    }  # fmt: skip
    asked = Declaration(model=said, data=str(model.understood["data"]))
    fitted = kind.fit(rows, found, asked) if kind.name in WHOLE_ANSWERS else None
    if fitted is None and not _same_preprocessing(found.folder, model.folder):
        raise ModelError(
            f"{said}: it has another tokenizer than {model.said}, and {kind.name} is scored token by token: tokens of "
            "two tokenizers are not comparable"
        )
    notes: tuple[str, ...] = ()
    if fitted is None:
        task, inputs = replace(model.task, folder=folder.absolute()), model.inputs
    else:
        task = replace(model.task, settings=fitted.settings, folder=folder.absolute())
        inputs, notes = fitted.inputs, fitted.notes
    return replace(
        model, name=f"{model.name}-{name}", stands_in=model.name, task=task, inputs=inputs, said=said, also=(),
        configuration=found.config, weights=LocalWeights(said, folder), folder=folder.absolute(),
        understood={**model.understood, "notes": list(notes)},
    )  # fmt: skip


def _check_labels(found: Checkpoint, model: OwnModel, said: str) -> None:
    """Raises ModelError where outputs do not mean what those of the dense model mean, in their order."""
    ours = [str(label).casefold() for label in (model.config().get("id2label") or {}).values()]
    theirs = [label.casefold() for label in found.labels]
    if not ours or not model.task.labels:
        return
    if len(theirs) != len(ours):
        raise ModelError(f"{said}: it has {len(theirs)} outputs, {model.said} {len(ours)}")
    if theirs == ours or all(label.startswith("label_") or label.isdigit() for label in theirs):
        return
    number = next(i for i, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
    why = "its outputs are in another order" if set(theirs) == set(ours) else "it was trained for other labels"
    raise ModelError(f"{said}: it calls output {number} {theirs[number]!r}, {model.said} {ours[number]!r}: {why}")


def _same_preprocessing(one: Path, other: Path) -> bool:
    names = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json")
    there = [name for name in names if (one / name).is_file() and (other / name).is_file()]
    return bool(there) and all((one / name).read_bytes() == (other / name).read_bytes() for name in there)
