"""The model that qualifications time: four Transformer blocks with seeded random weights, in torch.

BERT's blocks, 384 wide as the suite's own text model's are, so that bottlenecks are those of real cases, on 8
sequences of 32 tokens: 3.6 GFLOP, 20 to 40 ms on two cores of a server. Made in memory in 0.1 s: nothing is
trained, downloaded or read from disk.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from benchmarks.measure import timing
from benchmarks.measure.flush import flush_for
from benchmarks.measure.timing import FLUSH, TRIAL, Repeated
from benchmarks.measure.worker import Worker
from benchmarks.preparation.preparation import cpus_of
from compressors.interface import Hardware
from compressors.runtimes.torch import TorchRuntime
from compressors.skeleton import skeleton

State = dict[str, Any]
BATCH, SEQUENCE, VOCABULARY = 8, 32, 512
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "vocab_size": VOCABULARY,
    "hidden_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": SEQUENCE,
}
TIMEOUT = 120.0


def load_block(state: State, hardware: Hardware, dtype: str) -> None:
    """Make the model and its input in this worker; the same in every worker."""
    torch.manual_seed(0)
    model = skeleton(CONFIG).to(getattr(torch, dtype))
    forward = TorchRuntime().attach(model, {}, device=hardware.device, threads=hardware.threads)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, SEQUENCE), dtype=np.int64)
    state["work"] = Repeated(lambda: forward({"input_ids": ids}))
    state[FLUSH] = flush_for(hardware.device)


def slowed_slot(state: State, calls: int, delay: float) -> float:
    """A slot with every timed call made longer by the share `delay`, exactly: the delay that must be
    found. It spins, as real work would; sleeping would free the core and be rounded up by the scheduler."""
    call = functools.partial(state["work"].call, 0)
    call()
    seconds = 0.0
    for _ in range(calls):
        if flush := state.get(FLUSH):
            flush()
        began = time.perf_counter()
        call()
        until = began + (1 + delay) * (time.perf_counter() - began)
        while time.perf_counter() < until:
            pass
        seconds += time.perf_counter() - began
    return seconds / calls


class BlockLane:
    """The block in a fresh worker, timed with the slots of every case. Made by `open_lanes`."""

    def __init__(self, name: str, hardware: Hardware, *, dtype: str = "float32", delay: float = 0.0) -> None:
        self.name, self.delay = name, delay
        self.worker = Worker(name, cpus=cpus_of(hardware), threads=hardware.threads, held_to=hardware.held_to)
        try:
            self.worker.call(load_block, hardware, dtype, timeout=TIMEOUT)
            self.calls = 1
        except BaseException:
            self.worker.close()
            raise

    def set_calls(self) -> None:
        """Find out how many calls a slot takes; alone, or it would measure the others too."""
        self.calls = int(self.worker.call(timing.calls_per_slot, timeout=TIMEOUT))

    def slot(self, number: int = TRIAL, seed: int = 0) -> float:
        """Mean seconds of one forward pass in one slot."""
        if self.delay:
            return float(self.worker.call(slowed_slot, self.calls, self.delay, timeout=TIMEOUT))
        self.worker.call(timing.ready, seed, number, self.calls, timeout=TIMEOUT)
        return float(self.worker.call(timing.go, self.calls, timeout=TIMEOUT).seconds) / self.calls

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


@contextlib.contextmanager
def open_lanes(*makers: Callable[[], BlockLane]) -> Iterator[list[BlockLane]]:
    """Lanes in fresh workers, loaded beside each other, since that takes as long as timing them; closed at
    the end. Raises WorkerError where one of them fails, and leaves none behind."""
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(len(makers)) as pool:
            waiting = [pool.submit(maker) for maker in makers]
        lanes = []
        failed: BaseException | None = None
        for one in waiting:
            if error := one.exception():
                failed = error
            else:
                lanes.append(one.result())
                stack.callback(lanes[-1].close)
        if failed:
            raise failed
        for lane in lanes:
            lane.set_calls()
        yield lanes
