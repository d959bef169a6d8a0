"""Text by forward passes alone: at each step the likeliest token, over the whole of what was said so far.

No key-value cache is asked of a runtime, so any that runs a forward pass can be scored. It costs the square of the
length; speed is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.quality.generation_rules import Rules, processors
from benchmarks.quality.scoring import arrays_of
from compressors.interface import NOT_SCORED, Examples, PressbenchError
from compressors.runtimes.base import Forward


def greedy(
    forward: Forward, batch: Examples, new_tokens: int, ends: Sequence[int], rules: Rules = ()
) -> np.ndarray:  # fmt: skip
    """The tokens after the first of `decoder_input_ids`, (examples, new_tokens) int32: to the first of the tokens
    `ends`, which is among them, or `new_tokens`; NOT_SCORED after that.

    batch.inputs: what the encoder reads, `input_ids`, and `decoder_input_ids` of which the first column alone is used.
    forward: to logits, (examples, decoder positions, vocabulary). rules: what the model's settings forbid and force.
    As transformers' `generate(do_sample=False, num_beams=1)`.
    Raises PressbenchError where the logits do not fit the batch.
    """
    inputs = arrays_of(batch)
    said = inputs["decoder_input_ids"][:, :1]
    rows, ended = len(said), np.zeros(len(said), dtype=bool)
    found = np.full((rows, new_tokens), NOT_SCORED, dtype=np.int32)
    followed = processors(rules, ends, new_tokens, inputs["input_ids"])
    for place in range(new_tokens):
        logits = forward({**inputs, "decoder_input_ids": np.ascontiguousarray(said)})
        if logits.ndim != 3 or logits.shape[:2] != said.shape:
            raise PressbenchError(f"logits of shape {logits.shape} for decoder inputs of shape {said.shape}")
        before: Any = torch.from_numpy(said).long()
        likely: Any = torch.from_numpy(logits[:, -1].astype(np.float32))
        said_next = followed(before, likely).argmax(dim=1).numpy()
        chosen = np.where(ended, ends[0], said_next)  # what an ended text goes on with is not looked at
        found[~ended, place] = chosen[~ended]
        ended |= np.isin(chosen, ends)
        if ended.all():
            break
        said = np.concatenate([said, chosen[:, None].astype(said.dtype)], axis=1)
    return found
