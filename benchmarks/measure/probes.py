"""Two short probes of what a machine can do at the moment: memory bandwidth, and a matrix product.

They run in a worker. One is bound by memory, the other by arithmetic: a neighbour on a shared machine can
take either alone, which pairs of dense and compressed slots cannot see (both sides share one bottleneck).
Medians of a few repetitions, since the question is what is to be had now, not what is possible at best.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch

from benchmarks.hardware.devices.cpu import cpu_info
from compressors.interface import Hardware

State = dict[str, Any]
BANDWIDTH, MATMUL = "bandwidth_gb_s", "matmul_gflop_s"
MIB = 2**20
MATMUL_SIZE = {"cpu": 768, "cuda": 4096}
"""Rows and columns: three fp32 matrices of 768 are 7 MB, which caches hold; arithmetic decides."""


def array_bytes(hardware: Hardware, cache: object = None) -> int:
    """Size of each of the three arrays of the bandwidth probe: twice the last-level cache, 32 MiB at least,
    so that the three together are six times what the cache holds and nothing survives in it."""
    if hardware.device != "cpu":
        return 256 * MIB  # an L2 of a GPU holds tens of MiB
    cache = cpu_info().get("l3_cache_size") if cache is None else cache
    wanted = max(32 * MIB, 2 * cache if isinstance(cache, int) else 0)
    return int(min(wanted, 512 * MIB, psutil.virtual_memory().total // 64))


def probe(state: State, hardware: Hardware) -> dict[str, float]:
    """{"bandwidth_gb_s": …, "matmul_gflop_s": …} as they are now: tens of milliseconds on an idle machine."""
    arrays = _prepared(state, hardware)
    bandwidth = statistics.median(times(lambda: triad(arrays), hardware, 3))
    product = statistics.median(times(lambda: torch.mm(*state["matrices"], out=state["product"]), hardware, 5))
    size = state["product"].shape[0]
    return {BANDWIDTH: traffic(arrays) / bandwidth / 1e9, MATMUL: 2 * size**3 / product / 1e9}


def triad(arrays: tuple[torch.Tensor, ...]) -> None:
    """a = b + 2c, the kernel of STREAM (McCalpin 1995)."""
    a, b, c = arrays
    torch.add(b, c, alpha=2.0, out=a)


def traffic(arrays: tuple[torch.Tensor, ...]) -> int:
    """Bytes that one triad reads and writes, as STREAM counts them: what the cache fetches in order to
    write is not counted."""
    return sum(a.numel() * a.element_size() for a in arrays)


def times(call: Callable[[], object], hardware: Hardware, repetitions: int) -> list[float]:
    """Seconds of each of some repetitions."""
    found = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        if hardware.device != "cpu":
            torch.cuda.synchronize(hardware.device)
        found.append(time.perf_counter() - started)
    return found


def _prepared(state: State, hardware: Hardware) -> tuple[torch.Tensor, ...]:
    """The arrays, made and touched once: a worker that is kept does not pay for fresh pages each time."""
    if "arrays" not in state:
        count = array_bytes(hardware) // 4
        state["arrays"] = tuple(torch.ones(count, device=hardware.device) for _ in range(3))
        size = MATMUL_SIZE["cpu" if hardware.device == "cpu" else "cuda"]
        made = torch.Generator().manual_seed(0)
        state["matrices"] = tuple(torch.randn(size, size, generator=made).to(hardware.device) for _ in range(2))
        state["product"] = torch.empty(size, size, device=hardware.device)
        triad(state["arrays"])
        times(lambda: torch.mm(*state["matrices"], out=state["product"]), hardware, 2)
    arrays: tuple[torch.Tensor, ...] = state["arrays"]
    return arrays
