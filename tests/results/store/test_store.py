"""A run's file keeps every finished line through a kill and a full disk, and nothing is written over."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from written_runs import RUN, case, header, written

from results.store import store
from results.store.record import RunEnd
from results.store.run_writer import RunWriter
from results.store.store import ResultsError, new_run_id, read_run


def test_a_whole_run_is_read_back(tmp_path: Path) -> None:
    run = read_run(written(tmp_path / "made" / "on the way"))
    assert run.header == header()
    assert [record.case for record in run.cases] == ["a", "b", "c"]
    assert run.cases[0] == case("a")
    assert run.end and (run.end.executed, run.end.expected, run.end.counts) == (3, 3, {"pass": 3})
    assert run.end.seconds == {"compress": 74.0}
    assert run.damaged == ()


def test_every_line_is_on_disk_before_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    with RunWriter(tmp_path, header()) as writer:
        assert synced[0] == writer.path.stat().st_size > 0
        writer.write(case("a"))
        assert synced[-1] == writer.path.stat().st_size > synced[0]
        assert read_run(writer.path).cases == (case("a"),)


def test_a_killed_process_leaves_a_readable_run(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from results.store.record import CaseRecord, RunHeader
from results.store.run_writer import RunWriter
with RunWriter(Path({str(tmp_path)!r}), RunHeader(run={RUN!r}, started="", expected=("a", "b"))) as writer:
    writer.write(CaseRecord(run={RUN!r}, case="a", measure="speed", compressor="x", model="m",
                            hardware="cpu", verdict="pass"))
    os._exit(9)
"""
    root = Path(store.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60).returncode == 9
    run = read_run(tmp_path / f"{RUN}.jsonl")
    assert [record.case for record in run.cases] == ["a"]
    assert run.end is None and run.damaged == ()


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    before = written(tmp_path).read_bytes()
    with pytest.raises(ResultsError, match="exists already"):
        RunWriter(tmp_path, header())
    assert (tmp_path / f"{RUN}.jsonl").read_bytes() == before


@pytest.mark.parametrize("run", ["../evil", "a/b", "", ".hidden", "a\nb", "x" * 200, "C:\\x"])
def test_a_run_id_is_never_a_path(tmp_path: Path, run: str) -> None:
    with pytest.raises(ResultsError, match="use letters, digits"):
        RunWriter(tmp_path / "runs", header(run))
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="file: cannot be made: File exists"):
        RunWriter(tmp_path / "file", header())


def test_nothing_is_added_after_the_end_or_from_another_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path, header()) as writer:
        with pytest.raises(ResultsError, match="does not belong"):
            writer.write(case("a", run="another"))
        writer.finish()
        with pytest.raises(ResultsError, match="the run is closed"):
            writer.write(case("a"))
    writer.close()
    with pytest.raises(ResultsError, match="the run is closed"):
        writer.write(case("a"))
    assert read_run(writer.path).damaged == ()


def test_a_line_that_fills_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunWriter(tmp_path, header()) as writer:
        real, calls = os.write, [0]

        def full(file: int, data: bytes) -> int:
            calls[0] += 1
            if calls[0] == 1:
                return real(file, data[:40])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResultsError, match="cannot be written: No space left on device"):
            writer.write(case("a"))
        monkeypatch.setattr(os, "write", real)
        writer.write(case("b"))
        end = writer.finish()
    run = read_run(writer.path)
    assert [record.case for record in run.cases] == ["b"] and run.damaged == ()
    assert (end.executed, end.expected) == (1, 3)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    assert read_run(written(tmp_path)).cases[2] == case("c")


def test_the_end_counts_a_case_measured_again_once(tmp_path: Path) -> None:
    with RunWriter(tmp_path, header(expected=("a", "a", "a", "b"))) as writer:
        writer.write(case("a", verdict="fail"))
        writer.write(case("a"))
        writer.write(case("a", "footprint", verdict="inconclusive"))
        end = writer.finish()
    assert end == RunEnd(run=RUN, ended=end.ended, expected=4, executed=2, counts={"pass": 1, "inconclusive": 1})


def test_run_ids_have_their_form_and_differ() -> None:
    ids = {new_run_id() for _ in range(20)}
    assert len(ids) > 15
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", run) for run in ids)
