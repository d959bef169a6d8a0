"""What is written of source texts under the clock, by an encoder with a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.measure.ring import Arrays
from benchmarks.zoo.workload import Workload
from compressors.interface import PressbenchError
from compressors.runtimes.writing import Writer


def written(writer: Writer, texts: Arrays, workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """What makes of source texts, (batch, tokens), as many tokens as the workload wants. Raises PressbenchError where
    they are others in number."""
    start, wanted = start_of(texts), (workload.batch, workload.new_tokens)

    def made(sources: np.ndarray) -> np.ndarray:
        answer = writer.write(sources, start, workload.new_tokens)
        if answer.shape != wanted:  # fewer tokens are less work
            raise PressbenchError(f"tokens of shape {answer.shape} where {wanted} were to be written")
        return answer

    return made


def start_of(inputs: Mapping[str, np.ndarray]) -> int:
    """The token that each text begins with which a decoder writes behind an encoder. Raises PressbenchError where they
    begin with several, or there is no such decoder."""
    if "decoder_input_ids" not in inputs:
        raise PressbenchError("the model writes nothing of a source text: its inputs have no decoder_input_ids")
    found = np.unique(inputs["decoder_input_ids"][:, 0])
    if len(found) != 1:
        raise PressbenchError(f"texts begin with {len(found)} different tokens, where all that are timed have one")
    return int(found[0])
