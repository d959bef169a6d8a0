"""A run's file keeps every finished line through a kill, and a bad line is named, not passed over."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from results.store import store
from results.store.record import CaseRecord, RunEnd, RunHeader, SchemaError, to_line
from results.store.store import ResultsError, RunWriter, list_runs, new_run_id, read_run, resolve_run, resumable

RUN = "20261121T221530Z-3f2a"


def header(run: str = RUN, expected: tuple[str, ...] = ("a", "b", "c")) -> RunHeader:
    return RunHeader(run=run, started="2026-11-21T22:15:30+00:00", machine={"threads": 2}, expected=expected)


def case(name: str, measure: str = "accuracy", verdict: str = "pass", run: str = RUN) -> CaseRecord:
    return CaseRecord(
        run=run,
        case=name,
        measure=measure,
        compressor=name,
        model="minilm",
        hardware="cpu",
        verdict=verdict,
        evidence={"correct": [True, False]},
    )


def written(folder: Path, run: str = RUN, end: bool = True) -> Path:
    """A run of three cases."""
    with RunWriter(folder, header(run)) as writer:
        for name in "abc":
            writer.write(case(name, run=run))
        if end:
            writer.finish({"compress": 74.0})
    return writer.path


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
from results.store.store import RunWriter
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


def test_a_kill_in_the_last_line_loses_that_line_alone(tmp_path: Path) -> None:
    whole = written(tmp_path, end=False).read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    cut = tmp_path / "cut.jsonl"
    for size in range(start, len(whole) + 1):
        cut.write_bytes(whole[:size])
        run = read_run(cut)
        assert [record.case for record in run.cases[:2]] == ["a", "b"]
        if size >= len(whole) - 1:  # all but the newline is all of the record
            assert run.cases[2:] == (case("c"),) and not run.damaged
        elif size == start:
            assert len(run.cases) == 2 and not run.damaged
        else:
            assert len(run.cases) == 2
            ((number, why),) = run.damaged
            assert number == 4 and why.startswith("cut short, ")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"kind":"case","schema":1,"run":"' + RUN.encode() + b'","ca\0\0\0\0', "not JSON at column"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"", "not JSON at column 1"),
        (b'{"kind":"case","schema":1,"run":"' + RUN.encode() + b'"}', "key 'case': missing"),
        (b'{"kind":"case","schema":1,"value":NaN}', "a number cannot be read: NaN is not JSON"),
        (to_line(header()).rstrip(b"\n"), "a second run line"),
        (to_line(case("b", run="another")).rstrip(b"\n"), f"a record of run 'another', not '{RUN}'"),
    ],
)
def test_a_bad_line_in_the_middle_is_named_and_the_rest_read(tmp_path: Path, line: bytes, why: str) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = line
    path.write_bytes(b"\n".join(lines))
    run = read_run(path)
    assert [record.case for record in run.cases] == ["a", "c"]
    assert run.end is not None
    ((number, said),) = run.damaged
    assert number == 3 and said.startswith(why)


def test_a_lost_header_costs_the_header_alone(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([b"garbage", *lines[1:]]))
    run = read_run(path)
    assert run.header.run == RUN and len(run.cases) == 3 and run.damaged[0][0] == 1
    path.write_bytes(b"\n".join(lines[1:]))
    assert read_run(path).damaged == ((1, "expected the run line here"),)


def test_records_after_the_end_are_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(path.read_bytes().split(b"\n")[1] + b"\n")
    assert read_run(path).damaged == ((6, "stands after the run's end"),)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b"\0" * 512], ids=["empty", "blank", "text", "zeros"])
def test_a_file_without_any_record_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"x\.jsonl: not a run: "):
        read_run(path)
    with pytest.raises(ResultsError, match=r"absent\.jsonl: cannot be read: No such file"):
        read_run(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("line", [0, 2], ids=["header", "case"])
def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path, line: int) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[line] = lines[line].replace(b'"schema":1', b'"schema":2')
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(SchemaError, match=f"line {line + 1}: schema 2 is newer than schema 1"):
        read_run(path)


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


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []
    for run in ("20261122T010000Z-0001", "20261121T221530Z-ffff", "zz-kept"):
        written(tmp_path, run)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    assert [path.stem for path in list_runs(tmp_path)] == [
        "zz-kept",
        "20261121T221530Z-ffff",
        "20261122T010000Z-0001",
    ]


def test_runs_of_one_second_are_listed_as_they_were_written(tmp_path: Path) -> None:
    first, second = written(tmp_path, "20261121T221530Z-ffff"), written(tmp_path, "20261121T221530Z-0000")
    os.utime(first, (1, 1))
    assert list_runs(tmp_path) == [first, second]


def test_a_run_is_found_by_name_or_is_the_latest(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no runs in .*: run `pytest benchmarks` first"):
        resolve_run(tmp_path, None)
    older, latest = written(tmp_path), written(tmp_path, "20261122T010000Z-0001")
    assert resolve_run(tmp_path, None) == latest
    assert resolve_run(tmp_path, RUN) == older
    assert resolve_run(tmp_path, f"{RUN}.jsonl") == older
    assert resolve_run(tmp_path / "elsewhere", str(older)) == older


def test_a_run_is_found_by_the_beginning_or_the_end_of_its_id(tmp_path: Path) -> None:
    older, latest = written(tmp_path, "20261121T221530Z-3f2a"), written(tmp_path, "20261122T010000Z-0001")
    for part, path in (("20261121", older), ("3f2a", older), ("-0001", latest), ("20261122T01", latest)):
        assert resolve_run(tmp_path, part) == path
    assert resolve_run(tmp_path, "latest") == latest


def test_a_whole_id_is_taken_before_the_part_of_another(tmp_path: Path) -> None:
    short, called = written(tmp_path, "kept"), written(tmp_path, "latest")
    written(tmp_path, "kept-again")
    assert resolve_run(tmp_path, "kept") == short
    assert resolve_run(tmp_path, "latest") == called


def test_a_part_of_several_ids_lists_them(tmp_path: Path) -> None:
    ids = [f"20261121T2215{second:02d}Z-00{second:02x}" for second in range(10)]
    for run in ids:
        written(tmp_path, run)
    with pytest.raises(ResultsError) as error:
        resolve_run(tmp_path, "20261121")
    assert "may be one of 10 in" in str(error.value)
    assert ": " + ", ".join(ids[2:]) + " and 2 older; give more of its id" in str(error.value)
    with pytest.raises(ResultsError, match=r"no run '2026_122'"):
        resolve_run(tmp_path, "2026_122")
    with pytest.raises(ResultsError, match=r"no run ''"):
        resolve_run(tmp_path, "")


def test_an_unknown_run_is_told_the_nearest_names(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ResultsError, match=f"no run '20261121T221530Z-3f2b' in .*; nearest: {RUN}$"):
        resolve_run(tmp_path, "20261121T221530Z-3f2b")
    with pytest.raises(ResultsError, match=f"; the latest is {RUN}$"):
        resolve_run(tmp_path, "?")


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "/etc/passwd", "..\\x", "a\0/b.jsonl", "\x1b[2J", "x" * 5000])
def test_a_name_is_not_a_path_and_errors_are_one_line(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    with pytest.raises(ResultsError) as error:
        resolve_run(tmp_path, name)
    assert str(error.value).isprintable()


def test_run_ids_have_their_form_and_differ() -> None:
    ids = {new_run_id() for _ in range(20)}
    assert len(ids) > 15
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", run) for run in ids)


# -- resuming --------------------------------------------------------------------------------------


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
    assert path.with_name(path.name + store.CUT).read_bytes() == to_line(case("b"))[:40] + b"\n"
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


@pytest.mark.skipif(store.fcntl is None, reason="files cannot be locked")
def test_a_run_that_is_still_going_is_not_resumed(tmp_path: Path) -> None:
    with RunWriter(tmp_path, header()) as writer:
        writer.write(case("a"))
        assert store.is_being_written(writer.path)
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
