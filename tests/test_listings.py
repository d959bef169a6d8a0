"""What the options select, as people list it, and mistakes in the options: one line and exit code 4."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import NO_TARGETS, Done, Place
from planted_methods import PLUGINS

from benchmarks.zoo import find_model

MISTAKES = {
    "model": (["--model", "vit-digit"], "unknown model 'vit-digit'; did you mean vit-digits"),
    "compressor": (["--compressor", "int8-opnvino"], "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
    "parameter": (["--compressor", "int8-openvino:sample=3"], "compressor 'int8-openvino' has no parameter 'sample'"),
    "value": (
        ["--compressor", "prune-magnitude:sparsity=abc"],
        "compressor 'prune-magnitude': sparsity is \"abc\", must be a number",
    ),
    "refused": (["--compressor", "prune-magnitude:sparsity=7"], "compressor 'prune-magnitude': sparsity = 7: must lie"),
    "hardware": (["--hardware", "cqu"], "unknown hardware 'cqu' on this machine; did you mean cpu"),
    "tier": (["--tier", "nigthly"], "unknown tier 'nigthly'; did you mean nightly?"),
    "targets": (["--targets", "nowhere.toml"], "nowhere.toml: not found"),
    "twice": (["--hardware", "cpu", "--hardware", "cpu"], "two cases are called "),
}
CASE = "benchmarks/test_footprint.py::test_footprint[dense-vit-digits-cpu]"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("listings"), matrix_cache, PLUGINS, NO_TARGETS)


@pytest.fixture(scope="module")
def short(place: Place) -> dict[str, Done]:
    """The short runs by name."""
    runs = {
        "int8": place.command("--collect-only", "-q", "-k", "int8"),
        "speed": place.command("--collect-only", "-q", "-m", "speed", "--tier", "nightly", "--model", "vit-digits"),
        "unwritable": place.command("--results", f"{os.devnull}/x", target=CASE),
    }
    for name, (options, _) in MISTAKES.items():
        runs[name] = place.command(*options)
        runs[f"{name} of one case"] = place.command(*options, target=CASE)
    return place.batch(runs)


def test_a_listing_has_every_measure_under_one_id(short: dict[str, Done]) -> None:
    done = short["int8"]
    assert done.code == 0
    for model in ("minilm-bbc", "vit-digits"):
        for measure in ("accuracy", "footprint", "speed"):
            assert f"benchmarks/test_{measure}.py::test_{measure}[int8-openvino-{model}-cpu]" in done.ids
    assert all("int8" in line for line in done.ids)
    # With -q there is no header, and a plugin that is not there must be told all the same.
    assert "pressbench: plugin planted_broken = planted_broken could not be used: RuntimeError: built for" in done.out


def test_marks_and_options_select(short: dict[str, Done]) -> None:
    done = short["speed"]
    assert done.code == 0
    assert done.ids
    assert all(line.startswith("benchmarks/test_speed.py::test_speed[") for line in done.ids)
    assert not any("minilm" in line for line in done.ids)
    workloads = {line.partition("[dense-vit-digits-cpu")[2] for line in done.ids if "[dense-" in line}
    assert workloads == {"]", *(f"-{w.name}]" for w in find_model("vit-digits").nightly_workloads)}
    assert any("planted-crash" in line for line in done.ids)


@pytest.mark.parametrize("where", ["", " of one case"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_4(short: dict[str, Done], mistake: str, where: str) -> None:
    done = short[mistake + where]
    assert done.code == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.err.splitlines() if line]
    assert line.startswith(f"ERROR: {MISTAKES[mistake][1]}")
    assert "Traceback" not in done.out
    assert "conftest.py:" not in done.out


def test_results_that_cannot_be_written_are_one_line(short: dict[str, Done]) -> None:
    done = short["unwritable"]
    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert f"{os.devnull}/x: cannot be made: Not a directory" in done.out + done.err
    assert "Traceback" not in done.out + done.err


def test_listings_and_mistakes_leave_no_results(place: Place, short: dict[str, Done]) -> None:
    assert not (place.folder / "results").exists()
