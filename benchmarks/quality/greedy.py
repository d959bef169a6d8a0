"""Text by forward passes alone: at each step the likeliest token, over the whole of what was said so far.

No key-value cache is asked of a runtime, so any that runs a forward pass can be scored. It costs the square of the
length; speed is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.scoring import arrays_of
from compressors.interface import NOT_SCORED, Examples, PressbenchError
from compressors.runtimes.base import Forward


def greedy(forward: Forward, batch: Examples, new_tokens: int, end: int, forbidden: Sequence[int] = ()) -> np.ndarray:
    """The tokens after the first of `decoder_input_ids`, (examples, new_tokens) int32: to the token `end`, which is
    among them, or `new_tokens`; NOT_SCORED after that.

    batch.inputs: what the encoder reads, and `decoder_input_ids` of which the first column alone is used. forward:
    to logits, (examples, decoder positions, vocabulary). forbidden: tokens that are never said. As transformers'
    `generate(do_sample=False, num_beams=1)`, except that nothing is forced: where a model has `forced_eos_token_id`,
    `generate` puts the end in the last place of a text too long, and here it keeps its own last token.
    Raises PressbenchError where the logits do not fit the batch.
    """
    inputs = arrays_of(batch)
    said = inputs["decoder_input_ids"][:, :1]
    rows, ended = len(said), np.zeros(len(said), dtype=bool)
    found = np.full((rows, new_tokens), NOT_SCORED, dtype=np.int32)
    for place in range(new_tokens):
        logits = forward({**inputs, "decoder_input_ids": np.ascontiguousarray(said)})
        if logits.ndim != 3 or logits.shape[:2] != said.shape:
            raise PressbenchError(f"logits of shape {logits.shape} for decoder inputs of shape {said.shape}")
        last = logits[:, -1].copy()
        last[:, list(forbidden)] = -np.inf
        chosen = np.where(ended, end, last.argmax(axis=1))  # what an ended text goes on with is not looked at
        found[~ended, place] = chosen[~ended]
        ended |= chosen == end
        if ended.all():
            break
        said = np.concatenate([said, chosen[:, None].astype(said.dtype)], axis=1)
    return found
