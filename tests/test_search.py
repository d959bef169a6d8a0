"""`pressbench search` as a person runs it, on their own model: it chooses, confirms, draws a page, survives a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
import tiny_models
from forked_python import ForkedPython
from matrix_run import ROOT, finish

from results.store.store import list_runs, read_run

SPACE = "quantize-weights:bits=2|4|8,group_size=32"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    tiny_models.trained_classifier(folder / "model")
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((text, ("negative", "positive")[label]) for text, label in tiny_models.reviews(600, seed=5))
    return folder


def command(*more: str) -> list[str]:
    given = ("--model", "model", "--data", "reviews.csv", "--cache", "cache", "--no-qualify", "--name", "one")
    return ["-m", "pressbench.cli", "search", *given, *more]


def python(at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, which need not import torch anew."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "PRESSBENCH_STATE": str(at / "state")}
    ended = finish(ForkedPython(arguments, at, environment))
    return subprocess.CompletedProcess(arguments, ended.code, ended.out, ended.err)


def run(at: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return python(at, *command(*more))


@pytest.fixture(scope="module")
def killed(own: Path) -> list[str]:
    """A search that was killed after its first trial: the recipes that it had measured."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, *command(SPACE, "--goal", "size", "--within", "5pt", "--sampler", "grid")],
        cwd=own, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    seen: list[str] = []
    started = time.monotonic()
    for line in process.stderr:
        seen.append(line)
        if "trial 0: " in line or time.monotonic() - started > 240:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert any("trial 0: " in line for line in seen), seen
    (path,) = list_runs(own / "results" / "searches" / "one")
    return [record.case for record in read_run(path).cases]


@pytest.fixture(scope="module")
def done(own: Path, killed: list[str]) -> subprocess.CompletedProcess[str]:
    """The same command again."""
    return run(own, SPACE, "--goal", "size", "--within", "5pt", "--sampler", "grid")


def test_it_goes_on_after_a_kill(killed: list[str], done: subprocess.CompletedProcess[str], own: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert "1 trials are there" in done.stderr and "trial 0: " not in done.stderr
    assert "3 of 3" in done.stderr or "3 of 20" in done.stderr
    *_, last = list_runs(own / "results" / "searches" / "one")
    stored = read_run(last)
    assert stored.end is not None
    keys = [(record.measure, record.case) for record in stored.cases]
    assert len(keys) == len(set(keys)) and {"accuracy", "footprint"} == {measure for measure, _ in keys}
    assert set(killed) <= {case for _, case in keys} and len({case for _, case in keys}) == 4  # dense and three


def test_what_it_chooses_is_the_smallest_that_keeps_the_bound(
    done: subprocess.CompletedProcess[str], own: Path
) -> None:
    *_, last = list_runs(own / "results" / "searches" / "one")
    records = {(r.measure, r.parameters.get("bits")): r for r in read_run(last).cases}
    sizes = {bits: records["footprint", bits].measures["size_ratio"].value for bits in (2, 4, 8)}
    chosen = next(line for line in done.stdout.splitlines() if line.startswith("chosen: "))
    bits = int(chosen.partition("bits=")[2].partition(",")[0])
    assert sizes[2] < sizes[4] < sizes[8]  # type: ignore[operator]
    drop = records["accuracy", bits].measures["accuracy_drop"]
    assert drop.value is not None and drop.value < 0.05
    assert f"--compressor quantize-weights:bits={bits},group_size=32" in done.stdout
    assert "pytest benchmarks --model model --data reviews.csv" in done.stdout
    assert f'compressors = ["quantize-weights:bits={bits},group_size=32"]' in done.stdout
    assert "✓" in done.stdout and "the other half" in done.stdout


def test_its_page_shows_every_trial(done: subprocess.CompletedProcess[str], own: Path) -> None:
    page = (own / "results" / "searches" / "one" / "search.html").read_text(encoding="utf-8")
    for bits in (2, 4, 8):
        assert f"quantize-weights-bits={bits}" in page


def test_asked_again_nothing_is_measured(done: subprocess.CompletedProcess[str], own: Path) -> None:
    again = run(own, SPACE, "--goal", "size", "--within", "5pt", "--sampler", "grid")
    assert again.returncode == 0 and "trial" in again.stderr and "of 20: trial" not in again.stderr

    def chosen(out: str) -> list[str]:
        return [line for line in out.splitlines() if not line.startswith("page")]

    assert chosen(again.stdout) == chosen(done.stdout)


def test_the_line_for_a_zoo_file_is_taken_there(done: subprocess.CompletedProcess[str], own: Path) -> None:
    line = next(part.partition("zoo.toml: ")[2] for part in done.stdout.splitlines() if part.startswith("zoo.toml: "))
    (own / "zoo.toml").write_text(f'[mine]\nmodel = "model"\ndata = "reviews.csv"\n{line}\n', encoding="utf-8")
    asked = ("-p", "no:xdist", "-p", "no:hypothesispytest", "--zoo", "zoo.toml", "--cache", "cache", "--collect-only")
    listed = python(own, "-m", "pytest", str(ROOT / "benchmarks"), *asked, "-q")
    recipe = json.loads(line.partition(" = ")[2])[0].replace(":", "-").replace(",", "-")
    assert f"[{recipe}-mine-cpu]" in listed.stdout, listed.stdout + listed.stderr


@pytest.fixture(scope="module")
def timed(own: Path, done: object) -> subprocess.CompletedProcess[str]:
    """A search for speed over three recipes, of which one is too large, one loses too much, and one keeps both."""
    recipes = ["quantize-weights:bits=8", "prune-random:sparsity=0.98,recovery_epochs=0", "prune-layers:removed=0.5"]
    options = ("--within", "8pt", "--size", "0.9", "--name", "timed", "--sampler", "grid")
    return run(own, *recipes, *options)


def test_what_falls_at_one_hurdle_is_not_asked_at_the_next(timed: subprocess.CompletedProcess[str], own: Path) -> None:
    *_, last = list_runs(own / "results" / "searches" / "timed")
    measures: dict[str, set[str]] = {}
    for record in read_run(last).cases:
        measures.setdefault(str(record.parameters["compressor"]), set()).add(record.measure)
    assert timed.returncode == 0, timed.stderr
    assert measures["quantize-weights"] == {"footprint"}
    assert measures["prune-random"] == {"footprint", "accuracy"}
    assert measures["prune-layers"] == {"footprint", "accuracy", "speed"}
    assert "too large" in timed.stderr and "too much lost" in timed.stderr


GRID = (SPACE, "--goal", "size", "--sampler", "grid")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((SPACE,), "--within: without a bound"),
        ((SPACE, "--within", "5pt", "--goal", "beauty"), "--goal beauty: must be speed, size, loss"),
        ((SPACE, "--within", "5pt", "--sampler", "luck"), "--sampler luck: must be"),
        ((SPACE, "--within", "5pt", "--size", "-1"), "--size -1: must be above 0"),
        ((SPACE, "--within", "5pt", "--name", "../there"), "--name ../there: a name is made of"),
        (("quantize-weights:bit=2|4", "--within", "5pt"), "has no parameter 'bit'; did you mean bits"),
        (("quantize-weights:bits=4", "--within", "5pt"), "nothing is left open"),
        ((*GRID, "--within", "2pt"), "by half of the test examples, which choose: 150 examples cannot"),
        ((*GRID, "--within", "5pt", "--seed", "1"), "holds another search: its seed is 0, here it is 1"),
        ((*GRID, "--within", "6pt"), "holds another search: its wanted is"),
        (
            (*GRID, "--within", "5pt", "--size", "0.01", "--name", "none"),
            "no trial keeps at most 5 points lost, size ≤",
        ),
    ],
)
def test_a_mistake_is_one_line(
    more: tuple[str, ...], told: str, done: object, own: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    given = ("--model", "model", "--data", "reviews.csv", "--cache", "cache", "--no-qualify")
    code, _, err = call("search", *given, "--name", "one", *more)
    assert code == 4, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("pressbench: ") and told in last and "Traceback" not in err
