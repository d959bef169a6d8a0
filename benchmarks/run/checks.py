"""Was what was timed what was scored? Answers given under the clock against those that quality was measured on.

Of forward passes, sketches of examples as they are in the data. Of generated text, each token against the model's own
forward passes over the whole text, which is how perplexity is measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.matrix.cases import Case
from benchmarks.measure import sketch, stages
from benchmarks.measure.lane import Lane
from benchmarks.preparation.preparation import Preparation
from compressors.artifact import Artifact
from compressors.interface import PressbenchError

LEAST, TIMES = 0.01, 4.0
"""How far timed answers may be from the scored ones, in units of how far answers to different examples lie apart: the
larger of LEAST and TIMES the noise that other batches make of the model's answers."""
TEXTS = 4
"""Slots of which generated tokens are explained: each takes the model a pass over its prompt."""
UNLIKELY, MOST_UNLIKELY = 0.25, 0.05
"""A token is not the model's own where its logit is this many standard deviations of the vocabulary below the largest
(rounding differs between a pass over a text and a step of it: 0.02 in bf16); and the share of tokens that may be so."""


def check_passes(lane: Lane, artifact: Artifact, case: Case, prepared: Preparation) -> dict[str, Any]:
    """Compare a lane's timed answers with the artifact's scored ones; what came of it, for a record.

    Raises PressbenchError where they differ by more than the model's own batch noise."""
    assert case.workload is not None
    scored, noise = prepared.sketches(artifact, case.model, case.hardware, case.workload.sequence)
    scale, most, found = sketch.spread(scored), max(LEAST, TIMES * noise), []
    for one in lane.checks:
        known = one.rows < len(scored)
        found.append(sketch.differences(scored[one.rows[known]], one.answer[known], scale))
    apart = np.concatenate(found) if found else np.empty(0)
    if (moved := sketch.whole(apart)) > most:
        raise PressbenchError(
            f"{lane.name}: what is timed is not what was scored: {len(apart)} answers given under the clock lie "
            f"{moved:.1%} from those that were scored, in units of how far answers to different examples lie apart; "
            f"its own batch noise is {noise:.1%} (at most {most:.1%})"
        )
    return {"answers": len(apart), "difference": moved, "batch_noise": noise}


def check_tokens(lane: Lane, artifact: Artifact, case: Case, prepared: Preparation) -> dict[str, Any]:
    """Compare tokens that a lane made with the artifact's forward passes over the same texts.

    Raises PressbenchError where they are not those that the passes would choose."""
    texts = lane.checks[:TEXTS]
    closed = prepared.enclosure(artifact.directory)
    limit = prepared.settings.stage_seconds
    with prepared.stage("check", f"{case.id}: its tokens"), prepared.worker(lane.name, case.hardware, closed) as worker:
        worker.call(stages.load, artifact.directory, case.hardware, timeout=limit)
        gaps = [worker.call(stages.explain, one.rows, one.answer, timeout=limit).ravel() for one in texts]
    found = np.concatenate(gaps) if gaps else np.empty(0)
    unlikely = int((~(found <= UNLIKELY)).sum())
    if unlikely > MOST_UNLIKELY * len(found):
        raise PressbenchError(
            f"{lane.name}: what is timed is not what was scored: {unlikely} of {len(found)} tokens made under the "
            f"clock are not those that the model's own passes over the text choose (at most {MOST_UNLIKELY:.0%})"
        )
    return {"tokens": len(found), "unlikely": unlikely, "largest_gap": float(found.max(initial=0.0))}


def same_tokens(dense: Lane, compressed: Lane) -> dict[str, int]:
    """The greedy tokens of both after the same prompts, one beside the other: how many there are, how many are the
    same, and how many are before the first that differs (of the prompt where that is soonest)."""
    pairs = [
        (one.answer, other.answer)
        for one, other in zip(dense.checks[:TEXTS], compressed.checks[:TEXTS], strict=False)
        if np.array_equal(one.rows, other.rows)
    ]
    if not pairs:
        return {}
    same = np.concatenate([one == other for one, other in pairs])
    ahead = np.logical_and.accumulate(same, axis=1).sum(axis=1)
    return {"tokens": int(same.size), "same": int(same.sum()), "same_at_first": int(ahead.min())}
