"""The command that builds a method is pasted into another folder, and must find there what it found here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.matrix.options import ROOT
from benchmarks.matrix.selection import parse_compressors
from benchmarks.run.build_command import build_command


@pytest.fixture
def start(tmp_path: Path) -> Path:
    (tmp_path / "my model").mkdir()
    for name in ("reviews.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\n")
    return tmp_path


def built(start: Path, model: str, compressor: str, hardware: str = "cpu", /, **given: Any) -> list[str]:
    values = {"--tier": "quick", "--seed": 0} | {f"--{name.replace('_', '-')}": value for name, value in given.items()}
    words = build_command(values.get, model, compressor, hardware, start)
    assert words[:2] == ["pytest", str(ROOT / "benchmarks")] and words[-2:] == ["-m", "footprint"]
    return words[2:-2]


def test_paths_are_absolute_and_what_decides_the_result_is_carried(start: Path) -> None:
    assert built(
        start, "mine", "int8-openvino", "cuda0", model=["./my model"], data="reviews.csv", test_data="test.csv",
        task="text-classification", set=["name=mine", "columns.text=body", "test_data=test.csv"], cache="kept",
        allow_pickle=True, seed=3, results="elsewhere", tier="nightly",
    ) == [
        "--model", str(start / "my model"), "--data", str(start / "reviews.csv"), "--task", "text-classification",
        "--test-data", str(start / "test.csv"), "--set", "name=mine", "--set", "columns.text=body",
        "--set", f"test_data={start / 'test.csv'}", "--allow-pickle",
        "--cache", str(start / "kept"), "--seed", "3", "--compressor", "int8-openvino", "--hardware", "cuda0",
    ]  # fmt: skip


def test_a_name_of_the_hub_is_no_path(start: Path) -> None:
    words = built(start, "x-y", "int8-openvino", model=["org/x@main"], data="org/y")
    assert words[:4] == ["--model", "org/x@main", "--data", "org/y"]


def test_the_zoo_file_that_was_found_is_named(start: Path) -> None:
    assert built(start, "vit-digits", "dense") == ["--model", "vit-digits", "--compressor", "dense"]
    (start / "zoo.toml").write_text("")
    assert built(start, "reviews", "dense", model=["reviews", "other"]) == [
        "--model", "reviews", "--zoo", str(start / "zoo.toml"), "--compressor", "dense",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given", ["quantize-weights:bits=3,group_size=32", "quantize-weights:bits=3+int8-openvino", "low-rank-svd"]
)
def test_a_method_of_ones_own_is_called_as_options_call_it(start: Path, given: str) -> None:
    """Records call a method with parameters by a name that `--compressor` would not take."""
    (name,) = parse_compressors([given], "quick")
    words = built(start, "vit-digits", name, compressor=["dense", given])
    assert words[-1] == given
    assert set(parse_compressors([words[-1]], "quick")) == {name}
