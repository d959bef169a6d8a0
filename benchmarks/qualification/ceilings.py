"""Measured ceilings of a device: the most that was reached, by which a kernel's use of the hardware can be
told later. Best of a few repetitions, with as many threads as cases have, through torch's own kernels.

None where it cannot be measured here: bf16 where the hardware only emulates it, int8 where torch has no
kernel for it. What a library other than torch reaches may be more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure.probes import probe, times, traffic, triad
from compressors.interface import Hardware
from compressors.runtimes.controls import bf16_reason

State = dict[str, Any]
SIZE = {"cpu": 1024, "cuda": 8192}
REPETITIONS = 12


def ceilings(state: State, hardware: Hardware) -> dict[str, float | None]:
    """{"fp32_gflop_s", "bf16_gflop_s", "int8_gop_s", "bandwidth_gb_s"}; runs in a worker."""
    probe(state, hardware)  # makes the arrays, and warms up
    size = SIZE["cpu" if hardware.device == "cpu" else "cuda"]
    work = 2 * size**3 / 1e9
    made = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=made).to(hardware.device) for _ in range(2))
    low_a, low_b = a.bfloat16(), b.bfloat16()
    int_a, int_b = (torch.randint(-127, 128, (size, size), dtype=torch.int8, generator=made) for _ in range(2))
    int_a, int_b = int_a.to(hardware.device), int_b.to(hardware.device)

    def best(call: Callable[[], object]) -> float:
        times(call, hardware, 2)
        return min(times(call, hardware, REPETITIONS))

    native = bf16_reason(hardware) is None
    return {
        "fp32_gflop_s": work / best(lambda: torch.mm(a, b)),
        "bf16_gflop_s": work / best(lambda: torch.mm(low_a, low_b)) if native else None,
        "int8_gop_s": _int8(lambda: best(lambda: torch._int_mm(int_a, int_b)), work),
        "bandwidth_gb_s": traffic(state["arrays"]) / best(lambda: triad(state["arrays"])) / 1e9,
    }


def _int8(best: Callable[[], float], work: float) -> float | None:
    """int8 operands, int32 sums: torch._int_mm, the kernel that quantized linear layers of torch are built
    on. It is not public, and not there on every build."""
    try:
        return work / best()
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
