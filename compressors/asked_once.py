"""What the dense model says of the training data, asked once where a training passes over them several times.

It lies beside the inputs of each example, so that it is shuffled and cut into batches as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from compressors.interface import Examples, Progress, no_progress

KEPT = 2 << 30
"""Bytes of what is said about all examples up to which it is kept; above it is asked at every step."""
_SAID = "the teacher's "

Told = Callable[[Examples], Mapping[str, Tensor]]
"""Batch -> by names that are the asker's own, what is said: (examples, …) each."""


def asked_once(
    told: Told, examples: Examples, progress: Progress = no_progress, *, exact: Collection[str] = (),
    share: float = 1.0, batch_size: int = 32,
) -> tuple[Examples, bool]:  # fmt: skip
    """The examples with what is said about each beside them, in bf16, which is far finer than any student's error, but
    for the names in `exact`; as they are, and False, where that would be more than this `share` of `KEPT`."""
    few = examples[:2]
    if sum(_kept(*named, exact).nbytes for named in told(few).items()) / len(few) * len(examples) > share * KEPT:
        return examples, False
    said: dict[str, Tensor] = {}
    for start in range(0, len(examples), batch_size):
        part = slice(start, start + batch_size)
        for name, values in told(examples[part]).items():
            values = _kept(name, values, exact)
            if name not in said:
                said[name] = values.new_empty(len(examples), *values.shape[1:])
            said[name][part] = values
        progress("asking the teacher", min(part.stop, len(examples)), len(examples))
    return beside(examples, said), True


def beside(examples: Examples, said: Mapping[str, Tensor]) -> Examples:
    """The examples with what is said about each of them, (examples, …) by name."""
    named = {f"{_SAID}{name}": values for name, values in said.items()}
    return Examples({**examples.inputs, **named}, examples.labels, examples.dense_logits)


def apart(batch: Examples) -> tuple[Examples, dict[str, Tensor]]:
    """The batch as the model takes it, and what was said about it: nothing where it was not asked once."""
    inputs = {name: values for name, values in batch.inputs.items() if not name.startswith(_SAID)}
    said = {name.removeprefix(_SAID): v for name, v in batch.inputs.items() if name.startswith(_SAID)}
    return Examples(inputs, batch.labels, batch.dense_logits), said


def _kept(name: str, values: Tensor, exact: Collection[str]) -> Tensor:
    return values if name in exact else values.to(torch.bfloat16)
