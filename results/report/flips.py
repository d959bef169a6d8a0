"""The examples on which the compressed model answers otherwise than the dense one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.record import CaseRecord
from results.report.safe import sequence

LISTED = 60
"""Flips that are listed of one case before the rest is only counted."""
KINDS = ("lost", "gained", "wrong both times")


@dataclass(frozen=True)
class Flip:
    """example: its place in the test split, from 0. The rest as the record has it."""

    kind: str
    example: int
    label: str
    dense: str
    compressed: str


@dataclass(frozen=True)
class Flips:
    """counts: kind -> how many, of `examples`. listed: the first of them, those that were lost before the rest."""

    examples: int
    counts: dict[str, int]
    listed: Sequence[Flip]
    more: int


def flips(record: CaseRecord) -> Flips | None:
    """The flips of an accuracy record; None where it kept no predictions of both models."""
    found, dense, labels = (sequence(record.evidence.get(k)) for k in ("predictions", "dense_predictions", "labels"))
    if not found or not len(found) == len(dense) == len(labels):
        return None
    every = [
        Flip(_kind(a == truth, b == truth), i, str(truth), str(a), str(b))
        for i, (a, b, truth) in enumerate(zip(dense, found, labels, strict=True))
        if a != b
    ]
    every.sort(key=lambda flip: KINDS.index(flip.kind))
    counts = {kind: sum(1 for flip in every if flip.kind == kind) for kind in KINDS}
    return Flips(len(found), counts, every[:LISTED], len(every[LISTED:]))


def _kind(dense_right: bool, compressed_right: bool) -> str:
    if dense_right:
        return "lost"
    return "gained" if compressed_right else "wrong both times"
