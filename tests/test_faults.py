"""Faults planted in methods, plugins, records and the run itself: each has its verdict, and the rest completes.

One run is killed with -9; it is resumed while a second one, which has all the faulty methods, is under way on the
same cache and results. Nothing here asserts a time. Doing nothing, crashing and missing a speed target are in
test_matrix.py, what a worker alone survives in benchmarks/test_worker.py.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import WAIT, Done, Place, finish

from results.record import CaseRecord
from results.store import Run, RunWriter, list_runs, read_run

# -- what is planted -------------------------------------------------------------------------------

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
    from compressors.quantization.weights import quantize_linear
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(quantize_linear(layer.weight, 8, layer.weight.shape[1], symmetric=True).dequantize())
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
    # Knows the answers by heart: better than the dense model.
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
        "test = read_examples(next(CACHE.glob('dense/vit-digits-*/test.safetensors'))); "
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
CHAINS = ("planted-first+planted-vandal", "planted-snapped+quantize-weights-8bit")


@dataclass(frozen=True)
class Fault:
    """What is measured of a method, and what must come of it: a verdict and a pattern that the reason matches."""

    case: str
    verdict: str
    reason: str


FAULTS = {
    "nan": Fault(ACCURACY, "error", r"logits are NaN or infinite for 599 of 599 examples, first at 0"),
    "forgetful": Fault(ACCURACY, "fail", r".*"),
    "cribbed": Fault(ACCURACY, "pass", r".*"),
    "raises": Fault(ACCURACY, "error", r"planted-raises on vit-digits: ValueError: no such layer in this model"),
    "exits": Fault(ACCURACY, "error", r"planted-exits on vit-digits: the process exited with code 3"),
    "leaves": Fault(ACCURACY, "error", r"planted-leaves on vit-digits: SystemExit: the method thinks it is a program"),
    "hangs": Fault(ACCURACY, "error", r"planted-hangs on vit-digits: no answer in 12 s, stopped"),
    "hungry": Fault(
        ACCURACY,
        "error",
        r"planted-hungry on vit-digits: took 2\.\d+ GiB of memory, limit 2 GiB \(--memory-limit\), stopped",
    ),
    "busy": Fault(ACCURACY, "measured", r".*"),
    "careful": Fault(ACCURACY, "unsupported", r"still running: \[\]"),
    "untidy": Fault(ACCURACY, "unsupported", r"enough was written"),
    "declines": Fault(ACCURACY, "unsupported", r"these weights are small enough"),
    "liar": Fault(FOOTPRINT, "fail", r"simulated effect not witnessed: the stored weights are the dense ones.*"),
    "first+planted-vandal": Fault(
        ACCURACY,
        "error",
        r"planted-first\+planted-vandal on vit-digits: wrote to what it was given to read: \S+/model\.safetensors: "
        r"\d+ bytes where \d+ were saved .*",
    ),
    "snapped+quantize-weights-8bit": Fault(
        ACCURACY, "unsupported", r"quantize-weights: the weights lie on a 8-bit grid already \(each row of all .*"
    ),
}


# -- the runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Place:
    """With a cache of its own, for what is spoilt here, but for the dense model."""
    folder = tmp_path_factory.mktemp("faults")
    (matrix_cache / "dense").mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "dense").symlink_to(matrix_cache / "dense")
    return Place(folder, folder / "cache", PLUGINS, TARGETS)


HALF = ["--model", "vit-digits", "--compressor", "dense", "--compressor", "planted-slow", "-m", "not speed"]


def wait_until(condition: Callable[[], bool], process: object = None) -> None:
    deadline = time.monotonic() + WAIT
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Killed:
    """A run that was killed, as its file then was."""

    path: Path
    content: bytes
    worker: int


@pytest.fixture(scope="module")
def killed(place: Place) -> Killed:
    """Killed with -9 in the second case; the line that it was writing is cut short."""
    process = place.start("-m", "pytest", *place.command(*HALF))
    begun = place.folder / "started"
    wait_until(lambda: (begun.exists() and bool(begun.read_text())) or process.poll() is not None)
    process.kill()
    done = finish(process)
    assert done.code == -signal.SIGKILL, done.out + done.err
    (path,) = list_runs(place.folder / "results")
    content = path.read_bytes()
    path.write_bytes(content + b'{"kind":"case","sche')
    for name in REFUSALS:
        (place.folder / name).mkdir()
        shutil.copy(path, place.folder / name)
    return Killed(path, content, int(begun.read_text()))


@pytest.fixture(scope="module")
def faulty(place: Place, killed: Killed) -> tuple[Done, Done]:
    """The run that is resumed and the run with the faulty methods, both at once."""
    (place.folder / "patience").write_text("no more")
    resumed = place.start("-m", "pytest", *place.command(*HALF, "--resume"))
    names = [f"planted-{name}" for name in FAULTS]
    cases = [fault.case.format(name) for name, fault in zip(names, FAULTS.values(), strict=True)]
    cases += [measure.format("planted-changing") for measure in (ACCURACY, FOOTPRINT)]
    cases.append(ACCURACY.format("planted-slow"))  # the other run makes this artifact too
    chosen = [word for name in [*names, "planted-changing", "planted-slow"] for word in ("--compressor", name)]
    limits = ["--stage-limit", "12", "--memory-limit", "2GiB"]
    first, *others = cases
    planted = place.start("-m", "pytest", *place.command(*others, *chosen, *limits, target=first))
    return finish(resumed), finish(planted)


@pytest.fixture(scope="module")
def planted(place: Place, killed: Killed, faulty: tuple[Done, Done]) -> Run:
    """What the run with the faulty methods stored."""
    (path,) = [path for path in list_runs(place.folder / "results") if path != killed.path]
    return read_run(path)


def record(run: Run, measure: str, compressor: str) -> CaseRecord:
    (found,) = [r for r in run.cases if (r.measure, r.compressor) == (measure, compressor)]
    return found


# -- faulty methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_verdict_and_its_reason(planted: Run, faulty: tuple[Done, Done], name: str) -> None:
    fault = FAULTS[name]
    measure = fault.case.partition("::test_")[2].partition("[")[0]
    found = record(planted, measure, f"planted-{name}")
    assert found.verdict == fault.verdict, found.reason
    assert re.fullmatch(fault.reason, found.reason), found.reason


def test_the_rest_of_the_run_completes(planted: Run, faulty: tuple[Done, Done]) -> None:
    _, done = faulty
    assert done.code == pytest.ExitCode.TESTS_FAILED, done.out + done.err
    assert planted.end is not None
    assert planted.end.executed == planted.end.expected == len(planted.cases) == len(FAULTS) + 3
    assert planted.damaged == ()
    assert not re.search("GARBAGE|Traceback", done.out + done.err)


def test_a_drop_and_a_gain_are_numbers(planted: Run) -> None:
    drop = record(planted, "accuracy", "planted-forgetful").measures["accuracy_drop"]
    assert drop.value is not None and drop.value > 0.03
    gain = record(planted, "accuracy", "planted-cribbed").measures["accuracy_drop"]
    assert gain.value is not None and gain.value < 0


def test_what_is_on_disk_counts_and_a_claim_is_told(planted: Run) -> None:
    found = record(planted, "footprint", "planted-liar")
    files = sum(f["bytes"] for f in found.evidence["files"].values())
    assert found.measures["disk_bytes"].value >= files > 5 * found.evidence["claimed_bytes"]
    told = found.measures["size_ratio"].reason
    assert f"the method counts its weights as {found.evidence['claimed_bytes']:,} bytes, what is on disk counts" in told


def test_an_artifact_that_changes_after_it_was_saved_is_named(planted: Run) -> None:
    assert record(planted, "accuracy", "planted-changing").verdict == "error"
    found = record(planted, "footprint", "planted-changing")
    assert found.verdict == "error"
    assert re.search(r"planted-changing-\w+/model\.safetensors: \d+ bytes where \d+ were saved", found.reason)


def test_nothing_is_left_running_and_no_file_left_lying(place: Place, planted: Run, killed: Killed) -> None:
    pids = [int(pid) for pid in (place.folder / "left-behind").read_text().split()]
    assert not [pid for pid in pids if alive(pid)]
    assert not [name for name in (place.folder / "untidy").read_text().splitlines() if Path(name).exists()]
    assert not list(place.cache.rglob(".building-*"))


def test_the_record_of_a_failed_worker_has_its_traceback_and_what_it_printed(planted: Run) -> None:
    assert "raise ValueError(" in record(planted, "accuracy", "planted-raises").evidence["detail"]


def test_what_plugins_do_at_import_is_told_and_survived(faulty: tuple[Done, Done]) -> None:
    header = faulty[1].out.partition("collected ")[0]
    for name, why in {
        "exit": "SystemExit: wrong Python",
        "death": "its import ends the process with exit code 0",
        "crash": "its import ends the process with SIGSEGV",
    }.items():
        plugin = f"planted_import_{name}"
        assert f"pressbench: plugin {plugin} = {plugin} could not be used: {why}" in header


# -- a run that was killed -------------------------------------------------------------------------


def test_a_killed_run_leaves_nothing_that_computes(killed: Killed) -> None:
    deadline = time.monotonic() + 20
    while alive(killed.worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(killed.worker)


def test_a_resumed_run_repeats_and_loses_nothing(killed: Killed, faulty: tuple[Done, Done]) -> None:
    done, _ = faulty
    assert done.code == pytest.ExitCode.OK, done.out + done.err
    assert f"pressbench: resuming run {killed.path.stem}: 1 of 4 cases are finished" in done.out + done.err
    assert "4 measured" in done.out.splitlines()[-1]
    assert killed.path.read_bytes().startswith(killed.content)
    stored = read_run(killed.path)
    assert stored.damaged == ()
    assert [(r.compressor, r.measure) for r in stored.cases] == [
        (name, measure) for measure in ("accuracy", "footprint") for name in ("dense", "planted-slow")
    ]
    assert stored.end is not None
    assert stored.end.executed == stored.end.expected == 4
    assert killed.path.with_name(f"{killed.path.name}.cut").read_bytes() == b'{"kind":"case","sche\n'


def test_two_runs_at_once_share_what_either_makes(place: Place, planted: Run, killed: Killed) -> None:
    artifacts = {record(run, "accuracy", "planted-slow").artifact for run in (planted, read_run(killed.path))}
    assert len(artifacts) == 1
    assert None not in artifacts
    (_,) = (path for path in (place.cache / "artifacts").glob("*-planted-slow-*") if path.is_dir())


REFUSALS = {
    "other options": (
        ["--seed", "7"],
        r"run \S+ cannot be resumed: --seed was 0, is 7",
    ),
    "other cases": (
        ["-k", "dense"],
        r"run \S+ cannot be resumed: other cases are selected now \(2, were 4; planted-slow-vit-digits-cpu is .*",
    ),
    "other machine": (
        [],
        r"run \S+ cannot be resumed: the fingerprint differs: libraries\.torch was 1\.0, is \S+; threads was 9.*",
    ),
    "finished": ([], r"run \S+ has ended, there is nothing to resume"),
    "still going": ([], r"no interrupted run in \S+/still going: there is nothing to resume"),
}


@pytest.fixture(scope="module")
def refused(place: Place, killed: Killed, faulty: object) -> dict[str, Done]:
    """Runs that are resumed as they must not be; and one that has room for one case, as that is quick by now."""
    file = {name: place.folder / name / killed.path.name for name in REFUSALS}
    header, *rest = file["other machine"].read_text().splitlines(keepends=True)
    changed = json.loads(header)
    changed["machine"]["hash"] = "0" * 64
    changed["machine"]["key"]["threads"] = 99
    changed["machine"]["key"]["libraries"]["torch"] = "1.0"
    file["other machine"].write_text(json.dumps(changed) + "\n" + "".join(rest))
    with RunWriter.resume(read_run(file["finished"])) as writer:
        writer.finish()
    runs = {}
    for name, (options, _) in REFUSALS.items():
        resume = ["--resume"] if name != "finished" else ["--resume", killed.path.stem]
        runs[name] = place.command(*HALF, *resume, *options, results=name)
    runs["full"] = place.command(*HALF, "-q", "--tb=no", results="full")
    with RunWriter.resume(read_run(file["still going"])):
        return place.batch(runs, {"full": len(killed.content) + 1000})


@pytest.mark.parametrize("name", REFUSALS)
def test_a_run_is_resumed_as_it_was_begun_or_not_at_all(refused: dict[str, Done], name: str) -> None:
    done = refused[name]
    assert done.code == pytest.ExitCode.USAGE_ERROR, done.out + done.err
    assert re.search(REFUSALS[name][1], done.out + done.err), done.out + done.err
    assert "Traceback" not in done.out + done.err


# -- a disk that is full ---------------------------------------------------------------------------


def test_a_run_ends_when_nothing_more_can_be_stored(place: Place, refused: dict[str, Done]) -> None:
    done = refused["full"]
    assert done.code == 74, done.out + done.err
    (path,) = list_runs(place.folder / "full")
    assert f"{path}: cannot be written: File too large" in done.out + done.err
    assert "Traceback" not in done.out + done.err
    stored = read_run(path)
    assert [(r.compressor, r.measure) for r in stored.cases] == [("dense", "accuracy")]
    assert (stored.end, stored.damaged) == (None, ())
