"""An interrupted run goes on in the same file; one that ended or is still going does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from written_runs import case, header, written

from results.store import file_lock
from results.store.record import to_line
from results.store.run_writer import CUT, RunWriter
from results.store.store import ResultsError, list_runs, read_run, resumable


def interrupted(folder: Path) -> Path:
    with RunWriter(folder, header()) as writer:
        writer.write(case("a"))
    return writer.path


def test_a_resumed_run_goes_on_in_the_same_file_and_counts_all_of_it(tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    before = path.read_bytes()
    with RunWriter.resume(read_run(path)) as writer:
        writer.write(case("b"))
        end = writer.finish()
    assert path.read_bytes().startswith(before)
    assert (end.executed, end.expected) == (2, 3)
    assert [record.case for record in read_run(path).cases] == ["a", "b"]


def test_a_line_cut_short_is_set_aside_before_the_next_one(tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + to_line(case("b"))[:40])
    with RunWriter.resume(read_run(path)) as writer:
        assert path.read_bytes() == whole
        writer.write(case("c"))
    stored = read_run(path)
    assert stored.damaged == ()
    assert [record.case for record in stored.cases] == ["a", "c"]
    assert path.with_name(path.name + CUT).read_bytes() == to_line(case("b"))[:40] + b"\n"
    assert list_runs(tmp_path) == [path]


def test_a_damaged_line_in_the_middle_stays_and_stays_named(tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    path.write_bytes(path.read_bytes() + b"garbage\n" + to_line(case("b")))
    with RunWriter.resume(read_run(path)) as writer:
        writer.write(case("c"))
    stored = read_run(path)
    assert [number for number, _ in stored.damaged] == [3]
    assert [record.case for record in stored.cases] == ["a", "b", "c"]


def test_a_run_that_ended_or_has_lost_its_first_line_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"^run \S+ has ended, there is nothing to resume$"):
        RunWriter.resume(read_run(written(tmp_path / "ended")))
    path = interrupted(tmp_path)
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    with pytest.raises(ResultsError, match="its first line is lost"):
        RunWriter.resume(read_run(path))


def test_a_run_that_was_written_to_meanwhile_is_not_resumed(tmp_path: Path) -> None:
    stored = read_run(interrupted(tmp_path))
    with RunWriter.resume(stored) as writer:
        writer.write(case("b"))
    with pytest.raises(ResultsError, match="written to by another process just now"):
        RunWriter.resume(stored)


@pytest.mark.skipif(file_lock.fcntl is None, reason="files cannot be locked")
def test_a_run_that_is_still_going_is_not_resumed(tmp_path: Path) -> None:
    with RunWriter(tmp_path, header()) as writer:
        writer.write(case("a"))
        assert file_lock.is_being_written(writer.path)
        with pytest.raises(ResultsError, match=r"^run \S+ is still going, in another process$"):
            RunWriter.resume(read_run(writer.path))
        with pytest.raises(ResultsError, match="no interrupted run"):
            resumable(tmp_path)
    assert resumable(tmp_path).path == writer.path


def test_the_latest_interrupted_run_is_the_one_to_resume(tmp_path: Path) -> None:
    runs = ["20261121T000000Z-aaaa", "20261122T000000Z-bbbb", "20261123T000000Z-cccc"]
    for run, end in zip(runs, (False, False, True), strict=True):
        written(tmp_path, run, end)
    (tmp_path / "20261124T000000Z-dddd.jsonl").write_bytes(b"garbage\n")
    assert resumable(tmp_path).header.run == runs[1]
