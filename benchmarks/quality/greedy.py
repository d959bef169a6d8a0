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


def greedy(
    forward: Forward, batch: Examples, new_tokens: int, end: int, forbidden: Sequence[int] = (),
    first: int | None = None, last: int | None = None,
) -> np.ndarray:  # fmt: skip
    """The tokens after the first of `decoder_input_ids`, (examples, new_tokens) int32: to the token `end`, which is
    among them, or `new_tokens`; NOT_SCORED after that.

    batch.inputs: what the encoder reads, and `decoder_input_ids` of which the first column alone is used. forward:
    to logits, (examples, decoder positions, vocabulary). forbidden: tokens that are never said. first, last: tokens
    that each text begins with, and that the last place of one too long has (`forced_bos_token_id` and
    `forced_eos_token_id`). As transformers' `generate(do_sample=False, num_beams=1)`.
    Raises PressbenchError where the logits do not fit the batch.
    """
    inputs = arrays_of(batch)
    said = inputs["decoder_input_ids"][:, :1]
    rows, ended = len(said), np.zeros(len(said), dtype=bool)
    found = np.full((rows, new_tokens), NOT_SCORED, dtype=np.int32)
    forced = {number: token for number, token in ((0, first), (new_tokens - 1, last)) if token is not None}
    for place in range(new_tokens):
        logits = forward({**inputs, "decoder_input_ids": np.ascontiguousarray(said)})
        if logits.ndim != 3 or logits.shape[:2] != said.shape:
            raise PressbenchError(f"logits of shape {logits.shape} for decoder inputs of shape {said.shape}")
        likely = logits[:, -1].copy()
        likely[:, list(forbidden)] = -np.inf
        said_next = likely.argmax(axis=1) if place not in forced else np.full(rows, forced[place])
        chosen = np.where(ended, end, said_next)  # what an ended text goes on with is not looked at
        found[~ended, place] = chosen[~ended]
        ended |= chosen == end
        if ended.all():
            break
        said = np.concatenate([said, chosen[:, None].astype(said.dtype)], axis=1)
    return found
