"""Runs are listed oldest first, and found by name or by a part of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from written_runs import RUN, written

from results.store.store import ResultsError, list_runs, resolve_run


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
