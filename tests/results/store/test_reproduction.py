"""The command that runs a case again: its words, and where it may be started."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from results.store import reproduction
from results.store.record import CaseRecord, RunHeader
from results.store.reproduction import SUITE, anywhere, command

TEST = "test_speed.py::test_speed[int8-reviews-cpu]"
OPTIONS = {
    "model": ["./my model"], "data": "reviews.csv", "task": "text-classification", "test-data": "held out.csv",
    "set": ["columns.text=body", "labels=a,b"], "allow-pickle": True, "tau": 0.02, "results": "records",
}  # fmt: skip
WORDS = [
    "--model", "./my model", "--data", "reviews.csv", "--task", "text-classification", "--test-data", "held out.csv",
    "--set", "columns.text=body", "--set", "labels=a,b", "--allow-pickle", "--tau", "0.02",
]  # fmt: skip


def record(case: str = "int8-reviews-cpu", measure: str = "speed") -> CaseRecord:
    return CaseRecord(
        run="r", case=case, measure=measure, compressor="int8", model="reviews", hardware="cpu", verdict="pass"
    )


def header(folder: object, options: Any = OPTIONS, own: bool = True) -> RunHeader:
    extra = {"command": {"folder": folder, "options": options}}
    return RunHeader(
        run="r", started="", extra=extra | ({"models": {"reviews": {"model": "./my model"}}} if own else {})
    )


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a run was started in; the command is asked for in another."""
    folder = tmp_path / "my work"
    (folder / "my model").mkdir(parents=True)
    for name in ("reviews.csv", "held out.csv"):
        (folder / name).touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_all_options_of_the_run_are_carried_from_any_folder(work: Path) -> None:
    again = anywhere(header(str(work)), [record()])
    change, folder, and_then, *rest = shlex.split(again.command)
    assert (change, folder, and_then, again.where) == ("cd", str(work), "&&", "")
    at = rest.index(f"{SUITE}/benchmarks/{TEST}")
    assert rest[at - 1].endswith("pytest")
    assert rest[at + 1 :] == [*WORDS, "--results", "records"]


def test_for_others_it_names_no_folder_of_this_machine(work: Path) -> None:
    assert shlex.split(command(header(str(work)), [record()])) == ["pytest", f"benchmarks/{TEST}", *WORDS]


@pytest.mark.parametrize("gone", ["my work", "my work/reviews.csv", "my work/held out.csv", "my work/my model"])
def test_what_is_not_here_is_not_promised(work: Path, gone: str) -> None:
    path = work.parent / gone
    path.rename(work.parent / "moved")
    again = anywhere(header(str(work)), [record()])
    assert "cd " not in again.command and str(work) not in again.command
    assert again.where == "on the machine of the run, where its files are: they are not on this one"


def test_data_of_the_hub_need_not_lie_here(work: Path) -> None:
    (work / "reviews.csv").unlink()
    hub = {"reviews": {"model": "./my model", "hub": {"data": {"name": "org/reviews"}}}}
    of_hub = RunHeader(run="r", started="", extra=dict(header(str(work)).extra) | {"models": hub})
    assert anywhere(of_hub, [record()]).where == ""


def test_a_case_that_comes_with_pressbench_runs_wherever_that_is(work: Path) -> None:
    options = {"model": ["vit-digits"], "cache": "/nowhere/cache"}
    again = anywhere(header("/nowhere/at/all", options, own=False), [record()])
    assert again.where == "" and again.command.startswith(f"cd {shlex.quote(str(SUITE))} && ")
    assert shlex.split(again.command)[-3:] == [f"benchmarks/{TEST}", "--model", "vit-digits"]


def test_without_the_suite_itself_nothing_is_promised(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduction, "SUITE", work)
    assert anywhere(header(str(work)), [record()]).where == "in a checkout of pressbench, where its files are"


def test_a_run_from_before_options_were_kept_has_what_its_header_has() -> None:
    options = {"tier": "nightly", "seed": 3, "model": ["minilm"], "compressor": None, "tau": None}
    old = RunHeader(run="r", started="", options=options)
    words = shlex.split(command(old, [record("a b'; rm -rf $HOME #")]))
    assert words == ["pytest", "benchmarks/test_speed.py::test_speed[a b'; rm -rf $HOME #]",
                     "--model", "minilm", "--tier", "nightly", "--seed", "3"]  # fmt: skip


HOSTILE = "$(touch pwned); `id` && rm -rf /\n'\"\x00\x1b"


@pytest.mark.parametrize("folder", [HOSTILE, "/", "\x00", 3, None, ["/"], "relative", "~"])
def test_nothing_of_a_record_is_more_than_a_word(work: Path, folder: object) -> None:
    options: dict[str, Any] = {
        "model": [HOSTILE, 3, None], HOSTILE: "x", "data": HOSTILE, "set": HOSTILE, "--zoo": "x", "task": {"a": 1},
        "test-data": "-x",
    }  # fmt: skip
    again = anywhere(header(folder, options), [record(HOSTILE)])
    for line in (again.command, command(header(folder, options), [record(HOSTILE)])):
        assert line.isprintable()
        program, test, *words = shlex.split(line)
        assert program == "pytest" and test.startswith("benchmarks/test_speed.py::test_speed[$(touch pwned)")
        assert [word for word in words if word.startswith("--")] == [
            "--model", "--model", "--data", "--set", "--test-data=-x"
        ]  # fmt: skip
