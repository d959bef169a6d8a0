"""Do the clocks agree, and is the L2 cache emptied between calls where a case is timed?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.gpu_check.check import Findings, Setting
from benchmarks.gpu_check.clock import device_seconds, suite_seconds, waited_seconds
from benchmarks.measure import timing
from benchmarks.measure.flush import buffer_bytes, flush_for
from benchmarks.measure.timing import FLUSH
from benchmarks.qualification.block import load_block

SHARE, APART = 0.10, 200e-6
"""How far the suite's seconds may be from those by events: a share, and what handing over and fetching take."""
SLOWER = 1.05
"""How many times as long a call must take at least that finds nothing in the cache."""
PART = 4
"""The weight of that call is this part of the L2: half of one may hold what the other half reads."""
CALLS = 4


def check_clocks(setting: Setting, found: Findings) -> None:
    """A product that takes milliseconds, by CUDA events and as the suite times it."""
    size, device = setting.shapes.product, setting.device
    made = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=made).to(device) for _ in range(2))

    def answered() -> np.ndarray:
        return torch.mm(a, b)[:8, :8].cpu().numpy()  # its other numbers would take longer to fetch than to make

    by_suite = suite_seconds(answered, device)
    found.add("by the suite's clock", by_suite, "s")
    found.add("until the device is done", waited_seconds(lambda: torch.mm(a, b), device, 5), "s")
    setting.needs_cuda("the suite's clock alone was read")
    by_events = device_seconds(lambda: torch.mm(a, b), device, 10)
    found.add("by events", by_events, "s")
    found.add("suite over events", by_suite / by_events, "x")
    off = abs(by_suite - by_events)
    found.hold(
        off <= SHARE * by_events + APART,
        f"the suite's clock says {1e3 * by_suite:.3f} ms, events say {1e3 * by_events:.3f} ms",
    )


def check_flush(setting: Setting, found: Findings) -> None:
    """A small product that reads its weight, in a loop and after the cache was emptied; and that slots empty it."""
    emptied = _emptied(setting)
    found.add(f"emptied in a slot of {CALLS} calls and one before", emptied, "times")
    wanted = CALLS + 1 if setting.cuda else 0
    found.hold(emptied == wanted, f"a slot of {CALLS} calls and one before empties the cache {emptied} times")
    setting.needs_cuda("a slot empties nothing")
    device = setting.device
    cache = int(torch.cuda.get_device_properties(device).L2_cache_size)
    found.add("L2 cache", cache, "bytes")
    found.add("buffer written", buffer_bytes(device), "bytes")
    found.hold(buffer_bytes(device) >= 2 * cache, "the buffer is smaller than twice the L2")
    columns = 2048
    rows = max(16, cache // PART // 2 // columns // 16 * 16)
    weight = torch.randn(rows, columns, device=device).bfloat16()
    one = torch.randn(1, columns, device=device).bfloat16()

    def call() -> torch.Tensor:
        return torch.nn.functional.linear(one, weight)

    warm, cold = (device_seconds(call, device, setting.shapes.repetitions, cold=way) for way in (False, True))
    found.add("weight read", weight.nbytes, "bytes")
    found.add("in a loop", warm, "s")
    found.add("with the cache emptied", cold, "s")
    found.add("emptied over loop", cold / warm, "x")
    found.add("bandwidth, emptied", weight.nbytes / cold / 1e9, "GB/s")
    found.hold(cold >= SLOWER * warm, f"emptying the cache makes it {cold / warm:.3f} times as slow: it is not emptied")
    found.add("as the suite times it", suite_seconds(lambda: call().float().cpu().numpy(), device), "s")
    if flush := flush_for(device):
        found.add("emptying, not timed", waited_seconds(flush, device, 10), "s")


def _emptied(setting: Setting) -> int:
    """How often the cache is emptied in a slot of a qualification."""
    state: dict[str, Any] = {}
    load_block(state, setting.hardware, "float32")
    count = 0
    if flush := state[FLUSH]:

        def counted() -> None:
            nonlocal count
            flush()
            count += 1

        state[FLUSH] = counted
    timing.ready(state, 0, 0, CALLS)
    timing.go(state, CALLS)
    return count
