"""Was what was timed what was scored? Answers given under the clock against those that quality was measured on.

Of forward passes, sketches of examples as they are in the data. Of generated text, each token against the model's own
forward passes over the whole text, which is how perplexity is measured.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from benchmarks.matrix.cases import Case
from benchmarks.measure import sketch, stages
from benchmarks.measure.lane import Lane
from benchmarks.measure.written import start_of
from benchmarks.preparation.evaluation import Evaluation
from benchmarks.zoo.dense import read_examples
from compressors.artifact import Artifact
from compressors.interface import PressbenchError

LEAST, TIMES = 0.01, 4.0
"""How far timed answers may be from the scored ones, in units of how far answers to different examples lie apart: the
larger of LEAST and TIMES the noise that other batches make of the model's answers."""
DRAWN = 6
"""Slots of which answers to drawn inputs are asked again: by a worker that is loaded for it."""
TEXTS = 4
"""Slots of which generated tokens are explained: each takes the model a pass over its prompt."""
UNLIKELY, MOST_UNLIKELY = 0.5, 0.05
"""A token is not the model's own where its logit is this many standard deviations of the vocabulary below the largest
(rounding differs between a pass over a text and a step of it: 0.02 in bf16, 0.1 to 0.4 in int8); and the share of
tokens that may be so."""


def check_passes(lane: Lane, artifact: Artifact, case: Case, evaluated: Evaluation, inputs: int) -> dict[str, Any]:
    """Compare a lane's timed answers with the artifact's scored ones, and some that were given to inputs drawn for
    timing with what is said to the same when it is scored; what came of it, for a record. inputs: the seed of what
    was drawn.

    Raises PressbenchError where they differ by more than the model's own batch noise."""
    assert case.workload is not None
    if not lane.checks:
        return {}
    workload = case.own_workload(case.workload)
    scored, noise = evaluated.sketches(artifact, case.asked_as, case.hardware, workload.sequence)
    scale, most, found = sketch.spread(scored), max(LEAST, TIMES * noise), []
    for one in lane.checks:
        if one.rows is not None:
            known = one.rows < len(scored)
            found.append(sketch.differences(scored[one.rows[known]], one.answer[known], scale))
    real = np.concatenate(found) if found else np.empty(0)
    drawn = _drawn(lane, artifact, case, evaluated, inputs, scale)
    for apart, what in ((real, "answers given under the clock"), (drawn, "answers to what was drawn for timing")):
        if (moved := sketch.whole(apart)) > most:
            raise PressbenchError(
                f"{lane.name}: what is timed is not what was scored: {len(apart)} {what} lie {moved:.1%} from those "
                "that were scored, in units of how far answers to different examples lie apart; its own batch noise is "
                f"{noise:.1%} (at most {most:.1%})"
            )
    return {
        "answers": len(real),
        "difference": sketch.whole(real),
        "drawn": len(drawn),
        "drawn_difference": sketch.whole(drawn),
        "batch_noise": noise,
    }


def _drawn(
    lane: Lane, artifact: Artifact, case: Case, evaluated: Evaluation, inputs: int, scale: float
) -> np.ndarray:  # fmt: skip
    """(examples,) the differences of some answers to drawn inputs from those of a fresh worker that scores: of slots
    early and late, which nobody knows beforehand."""
    assert case.workload is not None
    known = [one for one in lane.checks if one.rows is None]
    coin = random.Random(inputs)
    chosen = coin.sample(known, min(DRAWN, len(known)))
    if not chosen:
        return np.empty(0)
    prepared = evaluated.prepared
    path, limit = prepared.inputs_path(case.asked_as), prepared.settings.stage_seconds
    closed, calls = prepared.enclosure(artifact.directory, path), [(one.slot, one.calls, one.call) for one in chosen]
    with prepared.stage("check", case.id), prepared.worker(lane.name, case.hardware, closed) as worker:
        worker.call(stages.load, artifact.directory, case.hardware, timeout=limit)
        again = worker.call(
            stages.drawn_again,
            path,
            case.own_workload(case.workload),
            inputs,
            calls,
            case.model.evaluation_batch,
            timeout=limit,
        )
    return np.concatenate(
        [sketch.differences(wanted, one.answer, scale) for wanted, one in zip(again, chosen, strict=True)]
    )


def check_tokens(lane: Lane, artifact: Artifact, case: Case, evaluated: Evaluation, inputs: int) -> dict[str, Any]:
    """Compare tokens that a lane made with the artifact's forward passes over the same texts.

    Raises PressbenchError where they are not those that the passes would choose."""
    texts = random.Random(inputs).sample(lane.checks, min(TEXTS, len(lane.checks)))
    if not texts:
        return {}
    prepared = evaluated.prepared
    closed = prepared.enclosure(artifact.directory)
    limit, start = prepared.settings.stage_seconds, None
    if case.workload and case.workload.kind == "generate":
        given = read_examples(prepared.inputs_path(case.asked_as)).inputs
        start = start_of({name: values.numpy() for name, values in given.items()})
    with prepared.stage("check", f"{case.id}: its tokens"), prepared.worker(lane.name, case.hardware, closed) as worker:
        worker.call(stages.load, artifact.directory, case.hardware, timeout=limit)
        gaps = [worker.call(stages.explain, one.rows, one.answer, start, timeout=limit).ravel() for one in texts]
    found = np.concatenate(gaps)
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
        if one.rows is not None and other.rows is not None and np.array_equal(one.rows, other.rows)
    ]
    if not pairs:
        return {}
    same = np.concatenate([one == other for one, other in pairs])
    ahead = np.logical_and.accumulate(same, axis=1).sum(axis=1)
    return {"tokens": int(same.size), "same": int(same.sum()), "same_at_first": int(ahead.min())}
