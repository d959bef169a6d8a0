"""Emptying a GPU's L2 cache before a timed call, so that it begins with what memory holds and not with what the last
call left: a workload of one's own has other work between two calls, and weights that an L2 holds would be read from it
in a loop only. On a CPU nothing is done: its untimed call restores a worker's own caches instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

TIMES = 2
"""How often the L2 fits into the buffer that is written: what is written once pushes all else out."""


def buffer_bytes(device: str) -> int:
    """Bytes of the buffer for a CUDA device."""
    return TIMES * int(torch.cuda.get_device_properties(device).L2_cache_size)


def flush_for(device: str) -> Callable[[], None] | None:
    """What empties the L2 of a CUDA device and waits until that is done; None for any other device."""
    if not device.startswith("cuda"):
        return None
    buffer = torch.empty(buffer_bytes(device), dtype=torch.int8, device=device)

    def flush() -> None:
        buffer.zero_()
        torch.cuda.synchronize(device)  # or the call would wait for it

    return flush
