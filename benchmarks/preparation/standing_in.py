"""A model that stands in for another: the same rows, read by its own tokenizer or image processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache, content_hash, hash_files, versions
from benchmarks.measure import stages
from benchmarks.measure.worker import Worker
from benchmarks.preparation.agreement import AGREED, NotShown, compare
from benchmarks.zoo.dense import INPUTS, LIBRARIES, Dense
from benchmarks.zoo.model import Model
from compressors.artifact import Artifact, file_hash
from compressors.interface import Hardware
from compressors.registry import source_closure


def inputs_of(model: Model, cache: Cache, worker: Worker, limit: float) -> Path:
    """The test examples as `model` is asked them, without answers, as one safetensors file."""
    key = {
        "model": content_hash(model.identity()),
        "code": hash_files(source_closure(stages.read_rows, "benchmarks")),
        "kind": hash_files(source_closure(type(model), "benchmarks")),
        "versions": versions(*LIBRARIES),
    }

    def build(folder: Path) -> None:
        worker.call(stages.read_rows, model, cache.root, folder, timeout=limit)

    return cache.build("inputs", model.name, key, build) / INPUTS


def agreed(
    model: Model, artifact: Artifact, inputs: Path, dense: Dense, cache: Cache, workers: tuple[Worker, Worker],
    hardware: Hardware, machine: str, limit: float,
) -> dict[str, Any]:  # fmt: skip
    """What came of holding the artifact's answers against those of its owner's run, see `agreement.compare`; asked
    once. machine: its fingerprint. Raises PressbenchError where they differ."""
    key = {
        "model": content_hash(model.identity()),
        "artifact": artifact.digest,
        "inputs": file_hash(inputs),
        "code": hash_files(source_closure(compare, "benchmarks")),
        "versions": versions(*LIBRARIES),
        "fingerprint": machine,
    }

    def build(folder: Path) -> None:
        found = compare(*workers, model, dense.entry, artifact.directory, inputs, cache.root, hardware, limit)
        if not found["shown"]:  # it may be for want of time or memory: asked again in the next run
            raise NotShown(found)
        (folder / AGREED).write_text(json.dumps(found), encoding="utf-8")

    try:
        entry = cache.build("agreement", model.name, key, build)
    except NotShown as error:
        return error.found
    return dict(json.loads((entry / AGREED).read_text(encoding="utf-8")))
