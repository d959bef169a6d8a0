"""Folders of small models and data, understood, made ready and compared as the suite does it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.hardware import select
from benchmarks.preparation import agreement
from benchmarks.zoo.dense import Dense, prepare_dense
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import understand
from compressors.interface import no_progress

sys.path.append(str(Path(__file__).parents[3]))
import tiny_models
from tiny_models import reviews, write_csv


class Here:
    """What a worker does, in this process."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def call(self, function: Any, *arguments: Any, timeout: float, progress: Any = None) -> Any:
        more = {"progress": progress} if progress else {}
        return function(self.state, *arguments, **more)


def understood(folder: Path, **values: Any) -> OwnModel:
    found: OwnModel = understand(declare("own", "zoo.toml: [own]", folder, values), Cache(folder / "cache"))
    return found


def made(model: OwnModel, folder: Path) -> Dense:
    (folder / "dense").mkdir()
    prepare_dense(model, Cache(folder / "cache"), select("cpu"), no_progress, folder / "dense")
    (folder / "dense" / "seal.json").write_text('{"files": {}}')
    return Dense(folder / "dense")


def agreed(model: OwnModel, dense: Dense, folder: Path) -> dict[str, Any]:
    owner: Any = Here()
    ours: Any = Here()
    return agreement.compare(
        owner, ours, model, dense.entry, dense.artifact.directory, dense.inputs_path, folder / "cache", select("cpu"),
        60.0,
    )  # fmt: skip


def texts(folder: Path, names: tuple[str, str] = ("negative", "positive")) -> None:
    write_csv(folder / "reviews.csv", ("text", "label"), [[text, names[label]] for text, label in reviews(60)])


def lines(folder: Path, columns: tuple[str, ...]) -> None:
    rows = [text for text, _ in reviews(120 * len(columns))]
    found = [dict(zip(columns, rows[i::120], strict=True)) for i in range(120)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def tagged(folder: Path) -> None:
    rows = [text.split() for text, _ in reviews(120)]
    good = set(tiny_models.GOOD)
    found = [{"tokens": words, "ner_tags": ["B-GOOD" if word in good else "O" for word in words]} for words in rows]
    (folder / "tagged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def opinions(folder: Path) -> None:
    rows = [[text, *marks] for text, marks in tiny_models.opinions(60)]
    write_csv(folder / "opinions.csv", ("text", *tiny_models.SEVERAL), rows)


KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], dict[str, Any]]] = {
    "text-classification": (tiny_models.classifier, texts, {"data": "reviews.csv"}),
    "multi-label-classification": (tiny_models.labeller, opinions, {"data": "opinions.csv"}),
    "causal-lm": (tiny_models.writer, lambda folder: lines(folder, ("text",)), {"data": "rows.jsonl"}),
    "embedding-retrieval": (
        tiny_models.embedder, lambda folder: lines(folder, ("query", "document")), {"data": "rows.jsonl"},
    ),
    "image-classification": (
        tiny_models.image_model, lambda folder: tiny_models.image_folder(folder / "pictures"), {"data": "pictures"},
    ),
    "token-classification": (tiny_models.tagger, tagged, {"data": "tagged.jsonl"}),
    "summarization": (
        tiny_models.translator, lambda folder: lines(folder, ("source", "target")),
        {"data": "rows.jsonl", "task": "summarization", "metric": "chrf"},
    ),
    "translation": (
        tiny_models.translator, lambda folder: lines(folder, ("source", "target")),
        {"data": "rows.jsonl", "task": "translation"},
    ),
}  # fmt: skip


NAMES = ("negative", "positive")


def named(count: int = 60) -> list[list[str]]:
    return [[text, NAMES[label]] for text, label in reviews(count)]


def put(tmp_path: Path, rows: list[list[Any]], heading: tuple[str, ...] = ("review", "sentiment")) -> None:
    write_csv(tmp_path / "reviews.csv", heading, rows)
