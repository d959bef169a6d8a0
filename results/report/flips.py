"""The examples on which the compressed model answers otherwise than the dense one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.report.picture import data_uri
from results.report.safe import mapping, sequence
from results.store.record import CaseRecord
from results.store.text import clipped

LISTED = 60
"""Flips that are listed of one case before the rest is only counted."""
TEXT = 400
"""Characters of an example that are shown, whatever a record holds."""
KINDS = ("lost", "gained", "wrong both times")


@dataclass(frozen=True)
class Flip:
    """example: its place in the test split, from 0. label, dense, compressed: names of classes, else their numbers.
    text, image: what it is, the image as a data URI; empty where the record does not hold it."""

    kind: str
    example: int
    label: str
    dense: str
    compressed: str
    text: str = ""
    image: str = ""


@dataclass(frozen=True)
class Flips:
    """counts: kind -> how many, of `examples`. listed: those of which the record holds what they are, else the first,
    those that were lost before the rest."""

    examples: int
    counts: dict[str, int]
    listed: Sequence[Flip]
    more: int


def flips(record: CaseRecord) -> Flips | None:
    """The flips of an accuracy record; None where it kept neither the predictions of both models nor what changed."""
    found, dense, labels = (sequence(record.evidence.get(k)) for k in ("predictions", "dense_predictions", "labels"))
    if not found or not len(found) == len(dense) == len(labels):
        return _changed(record)
    held = _held(record)
    names = sequence(record.evidence.get("label_names"))
    every = [
        Flip(_kind(a == truth, b == truth), i, *(_name(names, one) for one in (truth, a, b)), *held.get(i, ()))
        for i, (a, b, truth) in enumerate(zip(dense, found, labels, strict=True))
        if a != b
    ]
    every.sort(key=lambda flip: KINDS.index(flip.kind))
    counts = {kind: sum(1 for flip in every if flip.kind == kind) for kind in KINDS}
    listed = ([flip for flip in every if flip.example in held] or every)[:LISTED]
    return Flips(len(found), counts, listed, len(every) - len(listed))


def _changed(record: CaseRecord) -> Flips | None:
    """Examples that score lower or higher than before, where none is right or wrong; None where none are told."""
    told, examples = mapping(record.evidence.get("flipped")), record.evidence.get("examples")
    counts = {kind: told.get(kind) for kind in KINDS[:2]}
    numbers = {kind: number for kind, number in counts.items() if type(number) is int and number >= 0}
    if type(examples) is not int or len(numbers) < len(counts):
        return None
    listed = []
    for example in map(mapping, sequence(told.get("examples"))):
        row, kind, *said = (example.get(name) for name in ("row", "kind", "label", "dense", "compressed"))
        if (
            type(row) is int
            and isinstance(kind, str)
            and kind in counts
            and all(isinstance(text, str) for text in said)
        ):
            label, before, after = (clipped(str(text), TEXT) for text in said)
            text, image = _shown(example)
            listed.append(Flip(str(kind), row, label, before, after, text, image))
    listed = sorted(listed, key=lambda flip: KINDS.index(flip.kind))[:LISTED]
    return Flips(examples, numbers, listed, max(0, sum(numbers.values()) - len(listed)))


def _held(record: CaseRecord) -> dict[int, tuple[str, str]]:
    """Row -> (text, image) of the examples that the record holds."""
    found = {}
    for item in sequence(mapping(record.evidence.get("flipped")).get("examples")):
        example = mapping(item)
        row = example.get("row")
        if type(row) is int and any(held := _shown(example)):
            found[row] = held
    return found


def _shown(example: Mapping[str, object]) -> tuple[str, str]:
    """(text, image) of one example; empty where the record holds none."""
    text = example.get("text")
    return clipped(text, TEXT) if isinstance(text, str) else "", data_uri(example.get("image"))


def _name(names: Sequence[object], number: object) -> str:
    return str(names[number]) if isinstance(number, int) and 0 <= number < len(names) else str(number)


def _kind(dense_right: bool, compressed_right: bool) -> str:
    if dense_right:
        return "lost"
    return "gained" if compressed_right else "wrong both times"
