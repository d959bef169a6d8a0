"""A case beside what was accepted and declared: regressions, declared failures, --require, and what GitHub is told."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import ROOT, Done, Place, finish
from planted_methods import PLUGINS

from results.history import acceptance, baseline_file
from results.store.store import list_runs, read_run

TARGETS = """
[vit-digits.quantize-weights-8bit]
accuracy_drop = 0.05
size = 0.9
"""
ONE = ["--model", "vit-digits", "--compressor", "quantize-weights-8bit", "-m", "footprint"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("accepted"), matrix_cache, PLUGINS, TARGETS)


@pytest.fixture(scope="module")
def first(place: Place) -> Done:
    """The run that is accepted."""
    return finish(place.start("-m", "pytest", *place.command(*ONE, results="first")))


@pytest.fixture(scope="module")
def runs(place: Place, first: Done) -> dict[str, Done]:
    """The same case again, beside baselines, targets and declarations."""
    (path,) = list_runs(place.folder / "first")
    accepted, _, _ = acceptance.propose(read_run(path), None, [], when="2026-11-22", reason="")
    baseline_file.save(accepted, place.folder / "accepted")
    key = ("footprint", "quantize-weights-8bit-vit-digits-cpu")
    was = accepted.cases[key]
    better = {"size_ratio": {"value": 0.9 * float(was.value("size_ratio") or 0), "low": None, "high": None}}
    cases = {**accepted.cases, key: replace(was, values=better), ("speed", "gone-vit-digits-cpu"): was}
    baseline_file.save(replace(accepted, cases=cases), place.folder / "better")
    (place.folder / "small.toml").write_text("[vit-digits.quantize-weights-8bit]\nsize = 0.1\n")
    declared = '[[expected]]\ncase = "{}"\nmeasure = "footprint"\nreason = "known"\nbound = 0.9\nexpires = {}\n'
    for name, day in (("declared", "2999-12-31"), ("expired", "2020-01-01")):
        (place.folder / f"{name}.toml").write_text(declared.format(key[1], day))

    def footprint(name: str, accepted: str = "accepted", *more: str) -> list[str]:
        return place.command(*ONE, "--baselines", str(place.folder / accepted), *more, results=name)

    small = ["--targets", str(place.folder / "small.toml"), "--expected"]
    return place.batch(
        {
            "same": footprint("same"),
            "regression": footprint("regression", "better", f"--junitxml={place.folder / 'regression.xml'}"),
            "required": footprint("required", "accepted", "--require", "5"),
            "declared": footprint("declared", "accepted", *small, str(place.folder / "declared.toml")),
            "expired": footprint("expired", "accepted", *small, str(place.folder / "expired.toml")),
            "passes": footprint("passes", "accepted", "--expected", str(place.folder / "declared.toml")),
        },
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(place.folder / "summary.md"),
        GITHUB_WORKSPACE=str(ROOT),
    )


def test_a_run_is_compared_with_what_was_accepted(runs: dict[str, Done], place: Place) -> None:
    done = runs["same"]
    assert done.code == 0, done.out
    assert "compared: 1 unchanged" in done.out
    (path,) = list_runs(place.folder / "same")
    assert read_run(path).cases[0].comparison["outcome"] == "unchanged"


def test_a_regression_fails_the_test_and_reaches_junit(runs: dict[str, Done], place: Place) -> None:
    done = runs["regression"]
    assert done.code == pytest.ExitCode.TESTS_FAILED
    assert "regression: footprint of quantize-weights-8bit-vit-digits-cpu: size " in done.out
    assert "vanished: speed of gone-vit-digits-cpu" in done.out
    (case,) = ElementTree.parse(place.folder / "regression.xml").getroot().iter("testcase")
    (failure,) = case.iter("failure")
    assert re.search(
        r"regression: size [\d.]+ of the dense file, accepted [\d.]+: \+11.11%", failure.get("message", "")
    )
    assert "\nto reproduce: pytest " in str(failure.text)
    (path,) = list_runs(place.folder / "regression")
    (found,) = read_run(path).cases
    assert (found.verdict, found.measures["size_ratio"].verdict) == ("fail", "pass")


def test_github_is_told_where_it_asks_and_nowhere_else(runs: dict[str, Done], place: Place, first: Done) -> None:
    (command,) = [line for line in runs["regression"].out.splitlines() if line.startswith("::")]
    where = r"file=compressors/quantization/weights.py,line=\d+,title=fail%3A footprint of "
    assert re.match(f"::error {where}", command)
    assert "regression: size" in command
    summary = (place.folder / "summary.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", summary, re.MULTILINE)
    assert headings.count("✗ pressbench: 1 regression") == 1
    assert len(headings) == 6
    assert "vanished: speed of gone-vit-digits-cpu" in summary
    assert "**required: 5 cases, executed 1**" in summary
    assert not [line for line in first.out.splitlines() if line.startswith("::")]


def test_too_few_cases_have_an_exit_code_of_their_own(runs: dict[str, Done]) -> None:
    assert runs["required"].code == 10
    assert "required: 5 cases, executed 1" in runs["required"].out


def test_a_declared_failure_is_excused_until_its_date(runs: dict[str, Done]) -> None:
    assert runs["declared"].code == 0, runs["declared"].out
    assert "1 xfailed" in runs["declared"].out
    assert runs["expired"].code == pytest.ExitCode.TESTS_FAILED
    assert "its declaration as a failure has expired (known, up to 0.9, until 2020-01-01)" in runs["expired"].out
    assert runs["passes"].code == 0
    assert "passes although its failure is declared" in runs["passes"].out
