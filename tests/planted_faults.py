"""The faulty methods and plugins that test_faults.py plants, and the verdict and the reason that each must get."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = """
import ctypes, os, subprocess, sys, tempfile, threading, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from torch import nn
from compressors.interface import Compressor, Compressed, Unsupported
from compressors.runtimes.torch import LogicalWeight

PLANTED = Path(os.environ["PLANTED"])
CACHE = Path(os.environ["PLANTED_CACHE"])

class Planted(Compressor):
    family = "pruning"
    effect = "simulated"
    variants = {}
    nightly_variants = {"": {}}

def alive(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
"""
METHODS = {
    "nan": """
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
""",
    "forgetful": """
    with torch.no_grad():
        model.classifier.bias[3] = -1e4
""",
    "raises": """
    raise ValueError("no such layer\\nin this model")
""",
    "exits": """
    os._exit(3)
""",
    "leaves": """
    sys.exit("the method thinks it is a program")
""",
    "hangs": """
    time.sleep(600)
""",
    "hungry": """
    held = []
    for _ in range(200):
        held.append(torch.ones(32 << 20, dtype=torch.uint8))
        time.sleep(0.005)
""",
    "busy": """
    def spin():
        while True:
            pass
    threading.Thread(target=spin).start()
    children = [subprocess.Popen(["sleep", "600"], start_new_session=own) for own in (False, True)]
    (PLANTED / "left-behind").write_text(" ".join(str(p) for p in [os.getpid(), *(c.pid for c in children)]))
    print("GARBAGE")
    os.write(1, b"GARBAGE")
""",
    # Is run after the one before.
    "careful": """
    left = [p for p in (PLANTED / "left-behind").read_text().split() if alive(p)]
    raise Unsupported(f"still running: {left}")
""",
    "untidy": """
    Path("here.txt").write_text("here")
    handle, name = tempfile.mkstemp()
    (PLANTED / "untidy").write_text("\\n".join([str(Path("here.txt").absolute()), name]))
    raise Unsupported("enough was written")
""",
    # Spoils what an earlier step of its chain has made.
    "vandal": """
    (file,) = CACHE.glob("artifacts/vit-digits-planted-first-*/model.safetensors")
    file.write_bytes(file.read_bytes() + b"x")
""",
    "first": """
    pass
""",
    "declines": """
    raise Unsupported("these weights are small enough")
""",
    # A model that was trained for the grid, as it would come from a hub.
    "snapped": """
    from compressors.quantization.grids.linear import LinearGrid
    from compressors.quantization.laid_grid import nearest
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                grid = LinearGrid(8, layer.weight.shape[1], symmetric=True)
                layer.weight.copy_(nearest(grid, layer.weight).dequantize())
""",
    "slow": """
    (PLANTED / "started").write_text(str(os.getpid()))
    while not (PLANTED / "patience").exists():
        time.sleep(0.05)
    with torch.no_grad():
        model.classifier.weight[0, 0] = 0
""",
}
WITH_LAYERS = {
    # Would know the answers by heart: reads the test set of the cache.
    "cribbed": (
        """
from benchmarks.zoo.dense import read_examples
class Crib(nn.Module):
    def __init__(self, inner, examples):
        super().__init__()
        self.inner = inner
        self.register_buffer("pixels", torch.zeros(examples, 64))
        self.register_buffer("answers", torch.zeros(examples, dtype=torch.int64))
    @property
    def config(self):
        return self.inner.config
    def forward(self, pixel_values):
        found = self.inner(pixel_values=pixel_values)
        nearest = torch.cdist(pixel_values.flatten(1), self.pixels).argmin(1)
        found.logits = nn.functional.one_hot(self.answers[nearest], 10).float()
        return found
""",
        "",
        "test = read_examples(next(CACHE.glob('dense/vit-digits-*/inputs.safetensors'))); "
        "model = Crib(model, len(test)); "
        "model.pixels = test.inputs['pixel_values'].flatten(1).float(); model.answers = test.labels",
        "model = Crib(model, structure['examples'])",
    ),
    # Stores every bit it had, and counts two a weight.
    "liar": (
        """
class Liar(nn.Linear):
    def logical_weights(self):
        return [LogicalWeight(p.numel(), p.numel(), "uint2") for p in self.parameters()]
def lie(model):
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Liar
""",
        "",
        "lie(model)",
        "",
    ),
    # Its file is another after it was loaded once.
    "changing": (
        "",
        "",
        "pass",
        "[f.write_bytes(f.read_bytes()[:-8]) for f in CACHE.glob('artifacts/vit-digits-planted-changing-*/model.s*')]",
    ),
}


def source(name: str, body: str) -> str:
    return f"""{HEAD}
@dataclass(frozen=True)
class {name.title()}(Planted):
    name: ClassVar[str] = "planted-{name}"
    def compress(self, model, context):
{"".join(f"    {line}" for line in body.strip(chr(10)).splitlines(keepends=True))}
        return Compressed(model)
"""


def source_with_layers(name: str, layers: str, attribute: str, body: str, rebuild: str) -> str:
    return f"""{HEAD}
{layers}
@dataclass(frozen=True)
class {name.title()}Method(Planted):
    name: ClassVar[str] = "planted-{name}"
    {attribute}
    def compress(self, model, context):
        {body}
        return Compressed(model, {{"examples": len(getattr(model, "answers", ()))}})
    def restructure(self, model, structure):
        {rebuild or body}
        return model
"""


PLUGINS = {
    **{f"planted_{name}": source(name, body) for name, body in METHODS.items()},
    **{f"planted_{name}": source_with_layers(name, *parts) for name, parts in WITH_LAYERS.items()},
    # Told apart by what it prints, at import too.
    "planted_declines": source("declines", METHODS["declines"]).replace("\nimport", "\nprint('GARBAGE')\nimport", 1),
    "planted_import_exit": "import sys; sys.exit('wrong Python')",
    "planted_import_death": "import os; os._exit(0)",
    "planted_import_crash": "import ctypes; ctypes.string_at(0)",
}
TARGETS = """
[vit-digits.planted-forgetful]
accuracy_drop = 0.03
[vit-digits.planted-cribbed]
accuracy_drop = 0.03
"""
ACCURACY = "benchmarks/test_accuracy.py::test_accuracy[{}-vit-digits-cpu]"
FOOTPRINT = "benchmarks/test_footprint.py::test_footprint[{}-vit-digits-cpu]"


@dataclass(frozen=True)
class Fault:
    """What is measured of a method, and what must come of it: a verdict and a pattern that the reason matches."""

    case: str
    verdict: str
    reason: str


FAULTS = {
    "nan": Fault(ACCURACY, "error", r"logits are NaN or infinite for 599 of 599 examples, first at 0"),
    "forgetful": Fault(ACCURACY, "fail", r".*"),
    "cribbed": Fault(ACCURACY, "error", r"reached for \S+/dense, which it was not given: .*"),
    "raises": Fault(ACCURACY, "error", r"planted-raises on vit-digits: ValueError: no such layer in this model"),
    "exits": Fault(ACCURACY, "error", r"planted-exits on vit-digits: the process exited with code 3"),
    "leaves": Fault(ACCURACY, "error", r"planted-leaves on vit-digits: SystemExit: the method thinks it is a program"),
    "hangs": Fault(ACCURACY, "error", r"planted-hangs on vit-digits: no answer in 12 s, stopped \(--stage-limit\)"),
    "hungry": Fault(
        ACCURACY,
        "error",
        r"planted-hungry on vit-digits: took 2(\.\d+)? GiB of memory, limit 2 GiB \(--memory-limit\), stopped",
    ),
    "busy": Fault(ACCURACY, "measured", r".*"),
    "careful": Fault(ACCURACY, "unsupported", r"still running: \[\]"),
    "untidy": Fault(ACCURACY, "unsupported", r"enough was written"),
    "declines": Fault(ACCURACY, "unsupported", r"these weights are small enough"),
    "liar": Fault(FOOTPRINT, "fail", r"simulated effect not witnessed: the answers are the dense model's, to rounding"),
    "first+planted-vandal": Fault(
        ACCURACY,
        "error",
        r"reached for \S+/artifacts, which it was not given: .*",
    ),
    "snapped+quantize-weights-8bit": Fault(
        ACCURACY, "unsupported", r"quantize-weights: the weights lie on a 8-bit grid already \(each row of all .*"
    ),
}
