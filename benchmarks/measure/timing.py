"""What is timed, and how, inside a worker: slots of calls, each on other inputs, each over when its answer is an array.

A slot comes in two steps, so that the parent can time the second from outside: `ready` makes the inputs and one untimed
call, which restores this worker's own caches; `go` makes the timed ones. Of a long pass of an eager model on a CPU the
untimed call is on one example, see `Passes.begin`. On a GPU the L2 cache is emptied before each,
see `benchmarks.measure.flush`, by what a worker keeps in its state under FLUSH.
Does not see: work that is done after a slot, in another process or before a slot (a clock of the parent does:
`benchmarks.measure.outside`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.measure.flush import flush_for
from benchmarks.measure.ring import Arrays, Ring, prompts
from benchmarks.measure.sketch import sketch
from benchmarks.measure.written import written
from benchmarks.zoo.dense import read_examples
from benchmarks.zoo.workload import Workload
from compressors.interface import PressbenchError
from compressors.runtimes.base import Forward
from compressors.runtimes.generation import Generator

State = dict[str, Any]
SLOT_SECONDS = 0.005
"""A slot lasts at least this long, so that the clock's own resolution does not show."""
GLANCES = 64
"""Numbers of an answer that are read before the clock stops, so that none is of which no byte was ever made."""
LONG = 4 * SLOT_SECONDS
"""A call of more than this fills a slot alone."""
SHARED = 8
"""Slots of a decode workload that follow the same prompts, each with other tokens: its cache is put back, not made."""
TRIAL = 10**9
"""The number from which slots are counted that are no part of a measurement: their inputs are others."""
FLUSH = "flush"
"""Where a worker on a GPU keeps what empties its cache."""


@dataclass(frozen=True)
class Slot:
    """What a worker says of one slot. seconds: of its timed calls together, by its own clock. whole: from the first of
    them to the last, with what lies between. checked: an answer to be compared, None where nothing is known of it."""

    seconds: float
    whole: float
    checked: Checked | None


@dataclass(frozen=True)
class Checked:
    """What one call of a slot was asked and answered. rows: examples of the data, where they were given as they are; of
    prompts their tokens, (batch, tokens); None of inputs drawn, which can be drawn again: slot, calls and call say
    which. answer: a sketch, (batch, numbers), or tokens, (batch, tokens)."""

    rows: np.ndarray | None
    answer: np.ndarray
    slot: int
    calls: int
    call: int


class Work(Protocol):
    """What a slot is made of."""

    brief: bool
    """Whether the call before the timed ones may be on one example alone."""

    def begin(self, seed: int, slot: int, calls: int) -> None:
        """Make ready the inputs of `calls` timed calls and one before them."""
        ...

    def before(self, call: int) -> None:
        """What is done before a call, which is not timed."""
        ...

    def call(self, call: int) -> Any:
        """The work. Calls are numbered, 0 the untimed one."""
        ...

    def check(self, call: int, answer: np.ndarray) -> Checked | None:
        """What is known of that call's inputs, and what came of them; None of most."""
        ...


class Passes:
    """Forward passes. Of one timed call of each slot, wherever the draw puts it, the answer is kept to be compared.
    In every second slot it is on examples as they are in the data, each once as long as there are any, whose answers
    were scored; in the others on inputs like all others, which can be asked again by whoever scores."""

    def __init__(self, forward: Forward, ring: Ring) -> None:
        self._forward, self._ring, self.brief = forward, ring, False
        self._inputs: list[Arrays] = []
        self._rows: np.ndarray | None = None
        self._slot = self._calls = self._place = 0

    def begin(self, seed: int, slot: int, calls: int) -> None:
        """Where the untimed call may be brief it is on the first example alone, which wakes the threads and reads all
        code and weights in a fraction of the time. Of MiniLM, 8 × 128 tokens, in turns with OpenVINO on two cores, a
        timed call after it took 1.007 [0.98, 1.03] of one after a whole call, one of half the layers 0.997 [0.97,
        1.02]; without any before them 1.06 [1.03, 1.07] and 1.07 [1.04, 1.10]. OpenVINO's, which makes a plan for each
        shape, took 1.024 [1.005, 1.04]: there it stays whole."""
        self._inputs = self._ring.batches(seed, slot, calls + 1)
        if self.brief:
            self._inputs[0] = {name: values[:1] for name, values in self._inputs[0].items()}
        self._slot, self._calls, self._rows = slot, calls, None
        self._place = 1 + int(np.random.default_rng([seed, slot, 1]).integers(calls))
        if slot < TRIAL and slot % 2 == 0 and (found := self._ring.real(slot // 2)):
            self._rows, self._inputs[self._place] = found

    def before(self, call: int) -> None:
        pass

    def call(self, call: int) -> Any:
        return self._forward(self._inputs[call])

    def check(self, call: int, answer: np.ndarray) -> Checked | None:
        if call != self._place:
            return None
        found = sketch(answer, self._inputs[call].get("attention_mask"))
        return Checked(self._rows, found, self._slot, self._calls, call)


class Reading:
    """Prompts read, or source texts, each call others. What is checked are the tokens that were made of them in the
    slot's first timed call. made: (batch, tokens) -> the first token of each, or as many as the workload wants."""

    def __init__(self, made: Callable[[np.ndarray], np.ndarray], texts: Arrays, workload: Workload) -> None:
        assert workload.sequence is not None
        self._made, self._texts, self.brief = made, texts, False
        self._batch, self._tokens = workload.batch, workload.sequence
        self._prompts = np.empty(0)
        self._slot = self._calls = 0

    def begin(self, seed: int, slot: int, calls: int) -> None:
        self._slot, self._calls = slot, calls
        self._prompts = prompts(self._texts, self._batch, self._tokens, slot, calls + 1, seed)

    def before(self, call: int) -> None:
        pass

    def call(self, call: int) -> Any:
        return self._made(self._prompts[call])

    def check(self, call: int, answer: np.ndarray) -> Checked | None:
        if call != 1:
            return None
        return Checked(self._prompts[call], np.asarray(answer).reshape(self._batch, -1), self._slot, self._calls, call)


class Writing:
    """Tokens made after prompts and one token more, which is drawn for each call. The prompts are read once for SHARED
    slots: of 2,048 tokens that takes as long as making hundreds does. What is checked are the tokens of the slot's
    first timed call.

    Does not see: work that reading leaves to be done with the first token: that is in a call that is not timed."""

    def __init__(self, generator: Generator, texts: Arrays, workload: Workload) -> None:
        assert workload.sequence is not None
        self._generator, self._texts, self._new, self.brief = generator, texts, workload.new_tokens, False
        self._batch, self._tokens = workload.batch, workload.sequence
        self._prompts = self._first = np.empty(0)
        self._read: tuple[int, int] | None = None
        self._slot = self._calls = 0

    def begin(self, seed: int, slot: int, calls: int) -> None:
        self._slot, self._calls = slot, calls
        # (calls + 1, batch): tokens of the texts, as whatever follows a prompt is one.
        self._first = prompts(self._texts, self._batch, 1, slot, calls + 1, seed)[..., 0]
        if self._read != (seed, slot // SHARED):
            self._prompts = prompts(self._texts, self._batch, self._tokens, slot // SHARED, 1, seed)[0]
            self._generator.prefill(self._prompts)
            self._read = seed, slot // SHARED

    def before(self, call: int) -> None:
        self._generator.rewind()  # going back, and what is kept for that, are not a part of decoding

    def call(self, call: int) -> Any:
        return self._generator.decode(self._first[call], self._new)

    def check(self, call: int, answer: np.ndarray) -> Checked | None:
        if call != 1:
            return None
        texts = np.concatenate([self._prompts, self._first[call][:, None]], axis=1)
        return Checked(texts, np.asarray(answer), self._slot, self._calls, call)


class Repeated:
    """The same call again and again, of which nothing is known: what a qualification times."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self.brief = call, False

    def begin(self, seed: int, slot: int, calls: int) -> None:
        pass

    def before(self, call: int) -> None:
        pass

    def call(self, call: int) -> Any:
        return self._call()

    def check(self, call: int, answer: np.ndarray) -> Checked | None:
        return None


def set_workload(state: State, examples: Path, workload: Workload) -> None:
    """Make ready what is to be timed, on batches of the examples, or on prompts cut from their texts."""
    state[FLUSH] = flush_for(state.get("device", "cpu"))
    data = read_examples(examples)
    if workload.generates:
        texts = {name: values.numpy() for name, values in data.inputs.items()}
        if workload.kind == "decode":
            state["work"] = Writing(state["generator"], texts, workload)
        else:
            generates = workload.kind == "generate"
            made = written(state["writer"], texts, workload) if generates else state["generator"].prefill
            state["work"] = Reading(made, texts, workload)
    else:
        state["work"] = Passes(state["forward"], Ring(data, workload.batch, workload.sequence))


def calls_per_slot(state: State) -> int:
    """How many calls make a slot last long enough: from the fastest of three after a warm-up of two, or 1
    where the second call alone was far longer than a slot need be. Before such a one the untimed call may be brief on
    a CPU where no graph is made for a size of batch, as of an eager model."""
    gc.collect()
    gc.freeze()  # or a later collection walks all that the imports made: 250 ms within one slot of every process
    work: Work = state["work"]
    work.begin(0, TRIAL, 4)
    times = []
    for call in range(5):
        times.append(_timed(state, call)[0])
        if len(times) == 2 and times[1] > LONG:
            work.brief = bool(state.get("eager")) and state.get("device") == "cpu"
            return 1
    return max(1, int(np.ceil(SLOT_SECONDS / min(times[2:]))))


def ready(state: State, seed: int, slot: int, calls: int) -> None:
    """Make the inputs of a slot and its untimed call, and what is to be done before its first timed one.

    Raises PressbenchError where the last answer of the slot before has changed since: then it was not there when the
    clock was stopped."""
    if "last" in state:
        answer, seen = state.pop("last")
        if not np.array_equal(_glance(answer), seen, equal_nan=True):
            raise PressbenchError("an answer changed after it was given: the work went on when the call had returned")
    work: Work = state["work"]
    work.begin(seed, slot, calls)
    _timed(state, 0)
    work.before(1)


def go(state: State, calls: int) -> Slot:
    """The timed calls of the slot that was made ready."""
    work: Work = state["work"]
    checked: Checked | None = None
    seconds = 0.0
    began = time.perf_counter()
    for call in range(1, calls + 1):
        spent, answer, seen = _timed(state, call, prepared=call == 1)
        seconds += spent
        checked = checked or work.check(call, answer)
    whole = time.perf_counter() - began
    state["last"] = (answer, seen)
    return Slot(seconds, whole, checked)


def call_once(state: State, number: int = 0) -> np.ndarray:
    """One untimed call, on inputs of its own: the outputs of a forward pass, or tokens, where some are made."""
    work: Work = state["work"]
    work.begin(0, TRIAL + 1 + number, 1)
    return _timed(state, 1)[1]


def bytes_read(state: State) -> int:
    """Bytes that the loaded generator has to read for the first token after the prompts."""
    return int(state["generator"].bytes_read())


def _timed(state: State, call: int, prepared: bool = False) -> tuple[float, np.ndarray, np.ndarray]:
    """Seconds of one call until its answer is an array in memory; the answer; and what was seen of it by then."""
    work: Work = state["work"]
    if not prepared:
        work.before(call)
    if flush := state.get(FLUSH):
        flush()
    started = time.perf_counter()
    answer = np.asarray(work.call(call))
    seen = _glance(answer)
    return time.perf_counter() - started, answer, seen


def _glance(answer: np.ndarray) -> np.ndarray:
    flat = answer.reshape(-1)
    return flat[:: max(1, flat.size // GLANCES)].copy()
