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
from compressors.interface import PressbenchError

AGAIN, COMPANY = "asked-again", "other-company"
"""What the differences are kept as: (examples,), in units of how far answers to different examples lie apart."""
MOST_AGAIN = 0.01
"""The most that an answer may differ when the very same batch is asked again. Sums in another order are 1e-6 of it in
fp32 and 1e-2 in bf16, where a runtime sums in another order at all."""
MOST_COMPANY = 0.15
"""The most that answers may differ, in the root mean square, in another order and another batch. int8 with one step
for a whole batch of activations is told below, and comes to a few hundredths."""


def asked_again(
    worker: Worker, quality: Quality, examples: Path, scored: np.ndarray, batch: int, limit: float
) -> dict[str, np.ndarray]:
    """Ask the artifact that is loaded in `worker` the first batch as it was, and the first two in another order and
    size.

    scored: the sketches of all examples, asked `batch` at a time and in their order. Raises PressbenchError where
    answers differ by more than rounding, or than the model's own batches make of them."""
    first, two = np.arange(min(batch, len(scored))), np.arange(min(2 * batch, len(scored)))
    shuffled = np.random.default_rng(0).permutation(two)
    size = batch // 2 + 1 if batch > 1 else 2
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
    if (moved := sketch.whole(found[COMPANY])) > MOST_COMPANY:
        raise PressbenchError(
            f"in another order and {size} at a time instead of {batch}, answers move by {moved:.1%} of how far answers "
            f"to different examples lie apart (at most {MOST_COMPANY:.0%}): they depend on who else is in the batch"
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
    }
