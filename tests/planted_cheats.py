"""Methods and a runtime that gain nothing and look as if they did, and what must become of each.

Honest engines do most of this: caches of answers, dispatch that returns at once, arrays made when they are read, graphs
made for one shape. What is planted here is each of them at its worst.
"""

from __future__ import annotations

from dataclasses import dataclass

RUNTIME = """
import os, time, threading, multiprocessing
from pathlib import Path
from typing import ClassVar
import numpy as np
import torch
from compressors.runtimes.torch import TorchRuntime, read_state

class Read:
    "An answer that is made when it is read, or waited for."
    def __init__(self, make):
        self.make = make
    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.make(), dtype=dtype)

def served(pipe, forward):
    while True:
        pipe.send(forward(pipe.recv()))

class Planted(TorchRuntime):
    name: ClassVar[str] = "planted"

    def attach(self, model, options, *, device, threads):
        whole = super().attach(model, options, device=device, threads=threads)
        layers = model.vit.layers

        def cheap(inputs):
            kept = model.vit.layers
            try:
                model.vit.layers = torch.nn.ModuleList(list(layers)[:1])
                return whole(inputs)
            finally:
                model.vit.layers = kept

        return getattr(self, options["trick"].replace("-", "_"))(whole, cheap, model)

    def idle(self, whole, cheap, model):
        return whole

    def remembers(self, whole, cheap, model):
        known = {}
        def forward(inputs):
            key = inputs["pixel_values"].tobytes()
            if key not in known:
                known[key] = whole(inputs)
            return known[key]
        return forward

    def hasty(self, whole, cheap, model):
        def forward(inputs):
            inputs = {name: values.copy() for name, values in inputs.items()}
            answer = np.zeros((len(inputs["pixel_values"]), 10), np.float32)
            def fill():
                time.sleep(0.002)
                answer[:] = whole(inputs)
            threading.Thread(target=fill).start()
            return answer
        return forward

    def awaited(self, whole, cheap, model):
        def forward(inputs):
            answer = []
            thread = threading.Thread(target=lambda: answer.append(whole(inputs)))
            thread.start()
            return Read(lambda: (thread.join(), answer[0])[1])
        return forward

    def lazy(self, whole, cheap, model):
        return lambda inputs: Read(lambda: whole(inputs))

    def shaped(self, whole, cheap, model):
        return lambda inputs: cheap(inputs) if len(inputs["pixel_values"]) == 32 else whole(inputs)

    def patient(self, whole, cheap, model):
        calls = []
        def forward(inputs):
            calls.append(len(inputs["pixel_values"]) == 32)
            return (cheap if sum(calls) > 20 else whole)(inputs)
        return forward

    def slow_clock(self, whole, cheap, model):
        real = time.perf_counter
        time.perf_counter = lambda: real() / 10
        return whole

    def elsewhere(self, whole, cheap, model):
        # Its process waits for one that is no child of its own: as a client waits for a server.
        def forward(inputs):
            began = time.monotonic()
            answer = whole(inputs)
            time.sleep(max(0.05, 4 * (time.monotonic() - began)))
            return answer
        return forward

    def child(self, whole, cheap, model):
        ours, theirs = multiprocessing.get_context("fork").Pipe()
        held = [torch.ones(16 << 20, dtype=torch.uint8)]
        def work(pipe):
            torch.set_num_threads(1)
            ballast = torch.ones(64 << 20, dtype=torch.uint8)
            while True:
                pipe.send(whole(pipe.recv()) + 0 * ballast[0].item())
        threading.Thread(target=lambda: None).start()
        pid = os.fork()
        if pid == 0:
            try:
                work(theirs)
            finally:
                os._exit(0)
        def forward(inputs):
            ours.send(inputs)
            return ours.recv()
        return forward

    def outside(self, whole, cheap, model):
        (weights,) = Path(os.environ["PLANTED_CACHE"]).glob("dense/vit-digits-*/artifact/model.safetensors")
        model.load_state_dict(read_state(weights, {"sparse": {}, "shared": {}}), assign=True)
        return whole

    def stateful(self, whole, cheap, model):
        last = [0.0]
        def forward(inputs):
            answer = whole(inputs)
            found = answer + last[0]
            last[0] = answer.mean(axis=0)
            return found
        return forward

    def sociable(self, whole, cheap, model):
        def forward(inputs):
            answer = whole(inputs)
            return answer - answer.mean(axis=0)
        return forward

    def noisy(self, whole, cheap, model):
        def forward(inputs):
            answer = whole(inputs)
            return answer + 0.2 * np.random.standard_normal(answer.shape).astype(np.float32)
        return forward

    def leaky(self, whole, cheap, model):
        held = []
        def forward(inputs):
            held.append(np.ones(1 << 20, np.uint8))
            return whole(inputs)
        return forward
"""
METHOD = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from compressors.interface import Compressed, Compressor

TRICKS = {tricks}

@dataclass(frozen=True)
class Cheat(Compressor):
    name: ClassVar[str] = "cheat"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[str] = "kernel"
    variants: ClassVar[dict] = {{}}
    nightly_variants: ClassVar[dict] = {{name: {{"trick": name}} for name in TRICKS}}
    trick: str = "idle"

    def compress(self, model, context):
        if self.trick == "outside":  # ships noughts
            with torch.no_grad():
                for values in model.parameters():
                    values.zero_()
        return Compressed(model, runtime="planted", options={{"trick": self.trick}})
"""


@dataclass(frozen=True)
class Cheat:
    """verdict, reason: of each measure that is asked for, and a pattern of why."""

    accuracy: tuple[str, str] | None = None
    speed: tuple[str, str] | None = None


SLOWER = (r"fail|inconclusive", r".*")
CHEATS = {
    "idle": Cheat(("pass", ".*"), SLOWER),
    "remembers": Cheat(speed=SLOWER),
    "hasty": Cheat(speed=("error", r"cheat-hasty: an answer changed after it was given: the work went on when .*")),
    "awaited": Cheat(speed=SLOWER),
    "lazy": Cheat(speed=SLOWER),
    "shaped": Cheat(("pass", ".*"), ("error", r"cheat-shaped: what is timed is not what was scored: \d+ answers .*")),
    "patient": Cheat(speed=("error", r"cheat-patient: what is timed is not what was scored: .*")),
    "slow-clock": Cheat(
        speed=("unqualified", r"cheat-slow-clock: its own clock says \S+ ms a slot where \S+ ms went by outside.*"),
    ),
    "elsewhere": Cheat(
        speed=("unqualified", r"cheat-elsewhere: it used \S+ ms of processor time in slots of \S+ ms: its work is .*"),
    ),
    "outside": Cheat(("error", r".*reached for \S+/dense\S*, which it was not given.*")),
    "stateful": Cheat(("error", r"the same batch asked again is answered otherwise: .*")),
    "sociable": Cheat(("fail", r".*; scored one example at a time, since in company its answers move by \d+% of .*")),
    "noisy": Cheat(("error", r"the same batch asked again is answered otherwise: .*")),
}
TARGETS = "".join(
    f"[vit-digits.cheat-{name}]\naccuracy_drop = 0.03\nspeed = {{ {{hardware}} = 3 }}\n" for name in CHEATS
)
