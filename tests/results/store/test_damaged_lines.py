"""A line that cannot be read is named, not passed over, and the rest is read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from written_runs import RUN, case, header, written

from results.store.record import SchemaError, to_line
from results.store.store import ResultsError, read_run


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
