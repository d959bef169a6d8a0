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
from matrix_run import WAIT, Done, Place, finish, record
from planted_faults import ACCURACY, FAULTS, FOOTPRINT, PLUGINS, TARGETS

from benchmarks.cache import damage
from results.store.run_writer import RunWriter
from results.store.store import Run, list_runs, read_run

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
    assert "GARBAGE" not in done.out + done.err


def test_a_drop_is_a_number(planted: Run) -> None:
    drop = record(planted, "accuracy", "planted-forgetful").measures["accuracy_drop"]
    assert drop.value is not None and drop.value > 0.03


def test_what_is_on_disk_counts_and_a_claim_is_told(planted: Run) -> None:
    found = record(planted, "footprint", "planted-liar")
    files = sum(f["bytes"] for f in found.evidence["files"].values())
    assert found.measures["disk_bytes"].value >= files > 5 * found.evidence["claimed_bytes"]
    told = found.measures["size_ratio"].reason
    assert f"the method counts its weights as {found.evidence['claimed_bytes']:,} bytes, what is on disk counts" in told


def test_an_artifact_cannot_change_itself_when_it_is_loaded(planted: Run, place: Place) -> None:
    for measure in ("accuracy", "footprint"):
        found = record(planted, measure, "planted-changing")
        assert found.verdict == "error" and "reached for " in found.reason
    (entry,) = (path for path in (place.cache / "artifacts").glob("*-planted-changing-*") if path.is_dir())
    assert damage(entry) is None


def test_nothing_is_left_running_and_no_file_left_lying(place: Place, planted: Run, killed: Killed) -> None:
    pids = [int(pid) for pid in (place.folder / "left-behind").read_text().split()]
    assert not [pid for pid in pids if alive(pid)]
    assert not [name for name in (place.folder / "untidy").read_text().splitlines() if Path(name).exists()]
    assert not list(place.cache.rglob(".building-*"))


def test_the_record_of_a_failed_worker_has_its_traceback_and_what_it_printed(planted: Run) -> None:
    assert "raise ValueError(" in record(planted, "accuracy", "planted-raises").evidence["detail"]


def test_the_traceback_of_a_method_follows_its_message_and_no_other_has_one(faulty: tuple[Done, Done]) -> None:
    failures = faulty[1].out.partition(" FAILURES ")[2].partition(" pressbench ")[0]
    parts = re.split(r"^_{3,} test_\w+\[(\S+)-vit-digits-cpu\] _{3,}$", failures, flags=re.MULTILINE)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {name for name, text in told.items() if "Traceback" in text} == {"planted-raises", "planted-leaves"}
    message, command, heading, *trace = told["planted-raises"].strip().splitlines()
    assert message.endswith("ValueError: no such layer in this model")
    assert command.startswith("to reproduce: ")
    assert heading.strip("-") == " traceback in the worker "
    assert trace[0] == "Traceback (most recent call last):"
    assert any("planted_raises.py" in line for line in trace)
    assert trace[-2:] == ["ValueError: no such layer", "in this model"]
    assert "Traceback" not in faulty[1].err


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
