"""A worker that is held to fewer instructions than its processor has, so that it computes what a weaker class would.

The libraries read their limits once, when they first compute: such a worker is started afresh, with the limits in its
environment, and not forked from a process that has computed already. oneDNN's limit is torch's and OpenVINO's.
Does not give: the clocks, caches and units of the weaker class. What such a worker takes is an idea of its speed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.context import SpawnContext

from compressors.interface import PressbenchError

LIMITS: Mapping[str, Mapping[str, str]] = {
    name: {
        "ONEDNN_MAX_CPU_ISA": onednn,
        "ATEN_CPU_CAPABILITY": aten,
        "MKL_ENABLE_INSTRUCTIONS": aten.upper(),
        "FBGEMM_ENABLE_INSTRUCTIONS": fbgemm,
    }
    for name, onednn, aten, fbgemm in (
        ("avx2", "AVX2", "avx2", "AVX2"),
        ("avx512", "AVX512_CORE", "avx512", "AVX512"),
        ("vnni", "AVX512_CORE_VNNI", "avx512", "AVX512_VNNI"),
    )
}
"""Strongest feature that is left -> what oneDNN, ATen, MKL and FBGEMM are told. MKL keeps to Intel's processors."""
_context: SpawnContext = multiprocessing.get_context("spawn")
_starting = threading.Lock()


@contextlib.contextmanager
def held(feature: str) -> Iterator[SpawnContext]:
    """What makes processes that are held to it; those that are started within are."""
    with _starting:
        limits = LIMITS[feature]
        before = {name: os.environ.get(name) for name in limits}
        os.environ.update(limits)
        try:
            yield _context
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def check(feature: str) -> None:
    """Raises PressbenchError where this process is not held to it."""
    import torch

    wanted, found = LIMITS[feature]["ATEN_CPU_CAPABILITY"].upper(), torch.backends.cpu.get_cpu_capability()
    if found != wanted:
        raise PressbenchError(f"torch was to be held to {wanted} and computes with {found}: nothing is emulated here")
