"""What OpenVINO cannot do where it is held to fewer instructions than the processor has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from compressors.interface import Unsupported

LIMIT = "ONEDNN_MAX_CPU_ISA"
"""What oneDNN is held by, OpenVINO's library of kernels, and not OpenVINO itself."""


@contextlib.contextmanager
def told_where_held() -> Iterator[None]:
    """Around compiling and running a graph. Raises Unsupported where oneDNN is held to a limit and has no kernel for
    what OpenVINO chose by the processor: products with weights of few bits, held to AVX2 where there is AVX512."""
    try:
        yield
    except RuntimeError as error:
        limit = os.environ.get(LIMIT)
        if limit is None or "primitive descriptor" not in str(error):
            raise
        raise Unsupported(
            f"OpenVINO chooses kernels by what the processor has, and oneDNN held to {limit} lacks some of them: it "
            "cannot be emulated here"
        ) from error
