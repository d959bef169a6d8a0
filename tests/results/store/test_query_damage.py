"""Queries over damaged runs: what they find is what reading every file by itself finds, and the rest is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
from stored_runs import RUNS, record, values, write

from results.store import scan
from results.store.query import Runs
from results.store.record import RunHeader, to_line
from results.store.store import read_run
from results.store.strict_json import ResultsError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
Rows = list[tuple[Any, ...]]


def by_reading(path: Path) -> tuple[Rows, int]:
    """What there is by `read_run`, which knows nothing of DuckDB: records, and how many lines are damaged."""
    try:
        run = read_run(path)
    except ResultsError:
        return [], 1
    found = [(r.run, r.case, r.verdict, r.measures["speedup"].value) for r in run.cases]
    return sorted(found, key=repr), len(run.damaged)


def by_query(folder: Path) -> dict[str, tuple[Rows, list[str]]]:
    """File name -> its records, and what could not be read of it."""
    with Runs(folder) as runs:
        rows = runs._connection.execute(
            """SELECT f.name, f.run, r."case", r.verdict, r.measures['speedup'].value
            FROM record r JOIN file f ON f.id = r.file"""
        ).fetchall()
        problems = runs.problems
    names = [path.name for path in folder.glob("*.jsonl")]
    assert all(any(problem.startswith(name) for name in names) for problem in problems)
    return {
        name: (
            sorted((tuple(row) for of, *row in rows if of == name), key=repr),
            [problem for problem in problems if problem.startswith(name)],
        )
        for name in names
    }


LINES = {
    "cut": b'{"kind":"case","schema":1,"run":"x","ca',
    "zeros": b"\0" * 600,
    "not UTF-8": b"\xff\xfe",
    "not JSON": b"garbage",
    "a list": b"[1, 2]",
    "a number": b"7",
    "trailing text": to_line(record(RUNS[0])).rstrip(b"\n") + b"trailer",
    "NaN": to_line(record(RUNS[0])).rstrip(b"\n").replace(b"2.0", b"NaN"),
    "infinity": to_line(record(RUNS[0])).rstrip(b"\n").replace(b"2.0", b"1e999"),
    "another run": to_line(record("another")).rstrip(b"\n"),
    "another verdict": to_line(record(RUNS[0])).rstrip(b"\n").replace(b'"pass"', b'"fine"'),
    "no case": to_line(record(RUNS[0])).rstrip(b"\n").replace(b'"case":"fast",', b""),
    "no schema": to_line(record(RUNS[0])).rstrip(b"\n").replace(b'"schema":1,', b""),
    "another kind": b'{"kind":"note","schema":1,"run":"' + RUNS[0].encode() + b'"}',
    "measures of another kind": to_line(record(RUNS[0])).rstrip(b"\n").replace(b'{"speedup":{', b'[{"speedup":{')[:-1],
    "a value of another kind": to_line(record(RUNS[0])).rstrip(b"\n").replace(b'"value":2.0', b'"value":"two"'),
    "nested deeply": b"[" * 5000 + b"]" * 5000,
    "a second header": to_line(RunHeader(run=RUNS[0], started="")).rstrip(b"\n"),
}
PLACES = {"header": 0, "middle": 2, "after the end": 5}
PARSED = ("another run", "another verdict", "no case", "no schema", "another kind", "a second header")
"""Lines that DuckDB takes for records: only the judgement of whole files finds them."""


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[tuple[Path, Rows, list[str]]]]:
    """(line, place) -> the files that have it there, with what queries found: in a folder with every other damage, and
    where DuckDB parses the line also in one that it reads without an error. A sound run is in both."""
    found: dict[tuple[str, str], list[tuple[Path, Rows, list[str]]]] = {}
    for names in (tuple(LINES), PARSED):
        folder = tmp_path_factory.mktemp("damaged")
        paths = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda file: None)
            sound = write(folder, RUNS[1], record(RUNS[1]))
            for number, key in enumerate((name, place) for name in names for place in PLACES):
                run = f"20261119T000000Z-{number:04x}"
                paths[key] = write(folder, run, *(record(run, case) for case in "abc"))
                lines = paths[key].read_bytes().split(b"\n")
                lines[PLACES[key[1]]] = LINES[key[0]].replace(RUNS[0].encode(), run.encode())
                paths[key].write_bytes(b"\n".join(lines))
            if names == PARSED:
                patch.delattr(scan.Scanner, "_damaged")
            asked = by_query(folder)
        assert asked[sound.name] == (by_reading(sound)[0], [])
        for key, path in paths.items():
            found.setdefault(key, []).append((path, *asked[path.name]))
    return found


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", PLACES)
def test_a_damaged_line_is_told_and_the_rest_counts(damaged: Any, line: str, place: str) -> None:
    assert len(damaged[line, place]) == 1 + (line in PARSED)
    for path, rows, problems in damaged[line, place]:
        assert (rows, len(problems)) == by_reading(path)
        assert problems or (place, line) == ("header", "a second header")  # which is a header then
        assert all(problem.isprintable() for problem in problems)


@pytest.mark.parametrize("line", ["not JSON", "another verdict"])
def test_one_damaged_run_costs_the_others_nothing(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, RUNS[0], *(record(RUNS[0], name) for name in "abc"))
    path.write_bytes(path.read_bytes() + LINES[line] + b"\n")
    other = write(tmp_path, RUNS[1], record(RUNS[1]))
    found = by_query(tmp_path)
    assert {p.name: (found[p.name][0], len(found[p.name][1])) for p in (path, other)} == {
        path.name: by_reading(path),
        other.name: by_reading(other),
    }


def test_a_run_of_a_newer_schema_is_told_and_the_others_count(tmp_path: Path) -> None:
    path = write(tmp_path, RUNS[0], record(RUNS[0]))
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":2'))
    write(tmp_path, RUNS[1], record(RUNS[1]))
    with Runs(tmp_path) as runs:
        assert [result.run for result in runs.latest()] == [RUNS[1]]
        (problem,) = runs.problems
        assert "schema 2 is newer than schema 1" in problem


def test_a_run_of_an_older_schema_is_read_through_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, RUNS[0], record(RUNS[0]))
    old = path.read_bytes().replace(b'"schema":1', b'"schema":0').replace(b'"case":"fast"', b'"id":"fast"')
    path.write_bytes(old)
    write(tmp_path, RUNS[1], record(RUNS[1]))
    with Runs(tmp_path) as runs:
        assert [one.run for one in runs.latest()] == [RUNS[1]]
        assert "cannot be read as schema 0" in runs.problems[0]
    steps = {0: lambda line: {"case" if key == "id" else key: value for key, value in line.items()}}
    monkeypatch.setattr("results.store.record.STEPS", steps)
    assert read_run(path).cases == (record(RUNS[0]),)
    assert values(tmp_path) == [2.0, 2.0]


def test_a_line_too_long_for_duckdb_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_LINE_LIMIT", 4096)
    path = write(tmp_path, RUNS[0], record(RUNS[0], evidence={"samples": list(range(200_000))}))
    write(tmp_path, RUNS[1], record(RUNS[1]))
    assert by_query(tmp_path)[path.name] == (by_reading(path)[0], [])
    assert values(tmp_path) == [2.0, 2.0]
