"""The run that was made last is found wherever it was written, and it is told where that was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from results.store import last_run
from results.store.last_run import note, noted
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter

OLD, NEW = "20261120T100000Z-aaaa", "20261121T100000Z-bbbb"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRESSBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("os.fsync", lambda file: None)
    return tmp_path / "state"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "some where"


def store(folder: Path, run: str, name: str = "fast", value: float = 4.0) -> Path:
    with RunWriter(folder, RunHeader(run=run, started="", machine={"name": "EPYC"})) as writer:
        writer.write(
            CaseRecord(
                run=run, case=f"{name}-m-cpu", measure="speed", compressor=name, model="m", task="t", hardware="cpu",
                verdict="pass", workload="8x128", measures={"speedup": Measure(value=value, low=value, high=value)},
            )
        )  # fmt: skip
        writer.finish()
    return writer.path


COMMANDS = {
    "table": ("table",),
    "report": ("report", "-o", "page.html"),
    "card": ("card", "fast-m-cpu"),
    "compare": ("compare",),
    "regressions": ("regressions",),
    "accept by a part of its id": ("accept", "bbbb", "--dry-run"),
    "export by a part of its id": ("export", "bbbb", "-o", "speed.json"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_finds_the_run_just_made(call: Any, elsewhere: Path, command: tuple[str, ...]) -> None:
    store(elsewhere, OLD)
    note(store(elsewhere, NEW))
    _, _, err = call(*command)
    assert f"pressbench: run {NEW} from {elsewhere}, " in err and "no runs" not in err and "no run " not in err


def test_the_newest_wins_wherever_it_is_and_it_says_which(call: Any, elsewhere: Path) -> None:
    note(store(elsewhere, NEW, "far"))
    store(Path("results/runs"), OLD, "near")
    code, out, err = call("table")
    assert code == 0 and "far" in out
    assert err == (f"pressbench: run {NEW} from {elsewhere}, the last one made; the latest in results/runs is older\n")
    newest = "20261122T100000Z-cccc"
    store(Path("results/runs"), newest, "nearest")
    code, out, err = call("table")
    assert code == 0 and "nearest" in out
    assert err == f"pressbench: run {newest} from results/runs; the one in {elsewhere} is older\n"


def test_what_is_named_is_looked_for_here_first(call: Any, elsewhere: Path) -> None:
    note(store(elsewhere, NEW, "far"))
    store(Path("results/runs"), OLD, "near")
    assert "near" in call("table", "aaaa")[1]
    assert "far" in call("table", "bbbb")[1]
    code, _, err = call("table", "nonesuch")
    assert code == 4 and "no run 'nonesuch' in results/runs" in err and err.count("\n") == 1


def test_a_folder_that_is_named_is_the_only_one(call: Any, elsewhere: Path) -> None:
    note(store(elsewhere, NEW, "far"))
    store(Path("mine"), OLD, "near")
    code, out, err = call("table", "--runs", "mine")
    assert (code, err) == (0, "") and "near" in out


def test_of_many_runs_those_here_count_and_a_newer_one_elsewhere_is_told(call: Any, elsewhere: Path) -> None:
    note(store(elsewhere, NEW, "far"))
    code, out, err = call("latest")
    assert code == 0 and "far" in out
    assert err == f"pressbench: runs from {elsewhere}, where the last one was written\n"
    store(Path("results/runs"), OLD, "near")
    code, out, err = call("latest")
    assert code == 0 and "near" in out and "far" not in out
    assert err == f"pressbench: runs from results/runs; a newer one is in {elsewhere} (--runs)\n"


def test_a_run_that_is_gone_is_passed_over_and_told_once(call: Any, elsewhere: Path) -> None:
    path = store(elsewhere, NEW, "far")
    note(path)
    store(Path("results/runs"), OLD, "near")
    path.unlink()
    elsewhere.rmdir()
    code, out, err = call("table")
    assert code == 0 and "near" in out
    assert err == f"pressbench: the last run was written to {elsewhere} and is not there any more\n"
    assert call("table")[2] == ""


def test_a_run_in_the_usual_place_needs_no_word(call: Any) -> None:
    note(store(Path("results/runs"), NEW))
    code, _, err = call("table")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b'{"folder": "/tmp"}', b"\xff",
     *(json.dumps({"folder": folder, "run": run}).encode() for folder, run in
       [("relative", NEW), ("/", "../etc/passwd"), ("/", "a/b"), ("/\0", NEW), (3, NEW), ("/", None), ("/", ".x")])],
)  # fmt: skip
def test_a_note_that_is_no_note_is_none(state: Path, call: Any, content: bytes) -> None:
    state.mkdir()
    (state / last_run.FILE).write_bytes(content)
    store(Path("results/runs"), OLD)
    code, _, err = call("table")
    assert noted() is None and (code, err) == (0, "")


def test_a_note_is_never_half_a_note_and_where_none_can_be_written_none_is(
    state: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(elsewhere, NEW)
    note(path)
    assert sorted(os.listdir(state)) == [last_run.FILE]
    monkeypatch.setenv("PRESSBENCH_STATE", os.devnull)
    note(path)
    assert noted() is None
