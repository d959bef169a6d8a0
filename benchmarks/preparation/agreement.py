"""Does the suite run a model as its owner does? A few examples, one at a time and nothing padded, by transformers
itself, against the suite's own path: its batches, its padding, the artifact loaded back from disk.

Most mistakes of set-up are of this kind: another padding token than the head looks for, weights that were not loaded, a
setting of the folder that was not followed. They show in one answer in two, long before a score does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import sketch, stages
from benchmarks.measure.worker import Worker
from benchmarks.zoo.dense import read_examples
from benchmarks.zoo.model import Model
from benchmarks.zoo.owners_run import OwnersRun
from compressors.interface import NOT_SCORED, Hardware, PressbenchError, no_progress

MOST = 0.01
"""How far an answer may lie from the owner's, in units of how far answers to different examples lie apart: sums in
another order are 1e-5 of it, a padding token too many 0.1 and more."""


AGREED = "agreed.json"
"""The file of an entry that holds what came of it."""


class NotShown(Exception):
    """Nothing came of an owner's run that may be kept."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(found)
        self.found = found


def compare(
    owner: Worker, ours: Worker, model: Model, dense: Path, artifact: Path, inputs: Path, root: Path,
    hardware: Hardware, limit: float,
) -> dict[str, Any]:  # fmt: skip
    """What came of it, for a record. owner, ours: fresh workers. dense: the entry of the dense model. artifact, inputs:
    what is held against the owner's run, and what it is asked. Raises PressbenchError where the answers differ."""
    try:
        run: OwnersRun | None = owner.call(stages.owners_run, model, root, dense, hardware, timeout=limit)
    except Exception as error:  # of a library that is not ours: a reason why nothing is shown
        return {"shown": False, "why": " ".join(str(error).split())[:300]}
    if run is None:
        return {"shown": False, "why": "nobody says how its owner runs it"}
    ours.call(stages.load, artifact, hardware, timeout=limit)
    batch = model.evaluation_batch
    if run.outputs:
        rows = _rows(len(run.outputs), run.blocks, len(read_examples(inputs)))
        found = ours.call(stages.sketches, inputs, rows, batch, timeout=limit)
        wanted = [sketch.sketch(one)[0] for one in run.outputs]
        scale = sketch.spread(np.stack([one for one in wanted if one.shape == wanted[0].shape]))
        apart = np.array(
            [sketch.differences(one[None], other[None], scale)[0] for one, other in zip(wanted, found, strict=True)]
        )
    else:
        quality = model.task.quality
        answers = ours.call(stages.answer, quality, inputs, batch, len(run.tokens), timeout=limit, progress=no_progress)
        apart = np.array(
            [0.0 if _same(one, own) else np.inf for one, own in zip(run.tokens, answers["tokens"], strict=True)]
        )
    wrong = int((apart > MOST).sum())
    if wrong:
        why = f"; {'; '.join(run.suspects)}" if run.suspects else ""
        raise PressbenchError(
            f"{model.name}: the suite does not run it as its owner does: {wrong} of {len(apart)} answers are others "
            f"than those of {run.how}, one example at a time and nothing padded{why}"
        )
    return {"shown": True, "how": run.how, "examples": len(apart), "difference": float(apart.max())}


def _rows(asked: int, blocks: int, inputs: int) -> list[int]:
    """Where among the inputs those are that were asked: the first of each block."""
    return [block * (inputs // blocks) + row for block in range(blocks) for row in range(asked // blocks)]


def _same(owners: np.ndarray, ours: np.ndarray) -> bool:
    """Whether two texts have the same tokens, the one that ends them included: one that stops early is another."""
    return np.array_equal(owners, ours[ours != NOT_SCORED])


def told(found: dict[str, Any]) -> str:
    """In a few words, for the reason of the dense model's record."""
    if found.get("shown"):
        return f"; as {found['how']} answers, one at a time, on {found['examples']} of {found['examples']} examples"
    return f"; not shown to be run as its owner would: {found.get('why', '')}"
