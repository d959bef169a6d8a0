"""Are an artifact's answers its own? The same batch once more, and the same examples in other company.

An answer that depends on what was asked before, or on chance, is none that a user gets again; one that depends on who
else is in the batch was scored in company that the user does not have. Kernels round differently for different sizes of
batch, and activations quantized with one step a batch differ with it: that much is the model's own, and is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import sketch, stages
from benchmarks.measure.worker import Worker
from benchmarks.quality.scoring import Answers, Quality
from compressors.interface import PressbenchError, Progress

AGAIN, COMPANY, ALONE = "asked-again", "other-company", "alone"
"""What is kept under which name: differences, (examples,), in units of how far answers to different examples lie apart;
and, of what was scored one example at a time, (1,), how far its answers had moved with their company."""
MOST_AGAIN = 0.01
"""The most that an answer may differ when the very same batch is asked again. Sums in another order are 1e-6 of it in
fp32 and 1e-2 in bf16, where a runtime sums in another order at all."""
MOST_COMPANY = 0.15
"""The most that answers may move, in the root mean square, in another order and another batch. Beyond, they say more
about the batch than a score should: int8 with one step for a whole batch of activations moves those of a small
encoder by 0.006, and those of a language model, of which a few activations are a hundred times the others, by
0.42."""


def scored(
    worker: Worker, quality: Quality, examples: Path, batch: int, limit: float, progress: Progress
) -> dict[str, np.ndarray]:
    """What `quality` keeps of the answers of the artifact that is loaded in `worker`, asked `batch` at a time, or one
    by one where they depend too much on who else is in the batch; and what came of asking again.

    Raises PressbenchError where the same batch asked again is answered otherwise."""
    found = worker.call(stages.answer, quality, examples, batch, None, timeout=limit, progress=progress)
    found |= _asked_again(worker, quality, examples, found[stages.SKETCH], batch, limit)
    moved = sketch.whole(found[COMPANY])
    if batch == 1 or moved <= MOST_COMPANY:
        return found
    return {**scored(worker, quality, examples, 1, limit, progress), ALONE: np.array([moved])}


def _asked_again(
    worker: Worker, quality: Quality, examples: Path, scored: np.ndarray, batch: int, limit: float
) -> dict[str, np.ndarray]:
    """Ask the artifact that is loaded in `worker` the first batch as it was, and the first two in another order and
    size.

    scored: the sketches of all examples, asked `batch` at a time and in their order. Raises PressbenchError where the
    same batch is answered otherwise by more than rounding."""
    first, two = np.arange(min(batch, len(scored))), np.arange(min(2 * batch, len(scored)))
    shuffled = np.random.default_rng(0).permutation(two)
    size = batch // 2 + 1 if batch > 1 else 1
    plain = type(quality).ask is Quality.ask
    reference = scored if plain else _plain(worker, examples, two, batch, limit)
    again = worker.call(stages.sketches, examples, first.tolist(), batch, timeout=limit)
    other = worker.call(stages.sketches, examples, shuffled.tolist(), size, timeout=limit)
    scale = sketch.spread(scored if plain else reference)
    found = {
        AGAIN: sketch.differences(reference[first], again, scale),
        COMPANY: sketch.differences(reference[shuffled], other, scale),
    }
    if (worst := float(found[AGAIN].max())) > MOST_AGAIN:
        raise PressbenchError(
            f"the same batch asked again is answered otherwise: by {worst:.1%} of how far answers to different "
            f"examples lie apart (at most {MOST_AGAIN:.0%}); answers depend on what was asked before, or on chance"
        )
    return found


def _plain(worker: Worker, examples: Path, rows: np.ndarray, batch: int, limit: float) -> np.ndarray:
    """Sketches of forward passes as they were the first time: of a way to ask that makes several."""
    found: np.ndarray = worker.call(stages.sketches, examples, rows.tolist(), batch, timeout=limit)
    return found


def noise(answers: Answers) -> float:
    """How far answers move with their batch, in units of how far those to different examples lie apart."""
    return sketch.whole(answers[COMPANY]) if COMPANY in answers else 0.0


def told(answers: Answers) -> dict[str, Any]:
    """For a record: what came of asking again."""
    if COMPANY not in answers:
        return {}
    return {
        "asked_again": len(answers[AGAIN]),
        "again": float(answers[AGAIN].max()),
        "other_company": len(answers[COMPANY]),
        "batch_noise": noise(answers),
        **({"alone": True, "moved_with_company": float(answers[ALONE][0])} if ALONE in answers else {}),
    }


def in_words(answers: Answers) -> str:
    """What a person has to know of it, empty where there is nothing."""
    if ALONE not in answers:
        return ""
    return (
        f"; scored one example at a time, since in company its answers move by {answers[ALONE][0]:.0%} of how far "
        "those to different examples lie apart"
    )
