"""Queries over many runs: what they find is what reading every file by itself finds, wherever the files lie."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

sys.path.append(str(Path(__file__).parent))
from million import case_name, write_runs

from results.history.baseline import Accepted, Baseline, accepted_runs
from results.store import index, query, scan, store
from results.store.query import Runs, history, latest
from results.store.record import CaseRecord, Measure, RunHeader, to_line
from results.store.store import RunWriter, read_run
from results.store.strict_json import ResultsError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
PRINT, OTHER = "ab" * 32, "cd" * 32
RUNS = ("20261119T000000Z-aaaa", "20261120T000000Z-bbbb", "20261121T000000Z-cccc")


def record(run: str, case: str = "fast", value: float | None = 2.0, **changes: Any) -> CaseRecord:
    measures = {"speedup": Measure(value=value, low=1.5, high=2.5, bound=1.2, verdict="pass")}
    who = {"run": run, "case": case, "compressor": case, "model": "m", "hardware": "cpu", "fingerprint": PRINT}
    return CaseRecord(**who | {"measure": "speed", "verdict": "pass", "measures": measures} | changes)


def write(folder: Path, run: str, *records: CaseRecord, end: bool = True, **header: Any) -> Path:
    started = f"{run[:4]}-{run[4:6]}-{run[6:8]}T00:00:00+00:00"
    machine = {"name": "here", "hash": PRINT}
    with RunWriter(folder, RunHeader(**{"run": run, "started": started, "machine": machine} | header)) as writer:
        for one in records:
            writer.write(one)
        if end:
            writer.finish()
    return writer.path


def values(folder: Path | str, case: str = "fast", **options: Any) -> list[float | None]:
    (series,) = history(folder, case, **options)
    return series.values


# -- what is found ---------------------------------------------------------------------------------


def test_a_history_is_oldest_first_for_each_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, RUNS[2], record(RUNS[2], value=3.0), record(RUNS[2], "other"))
    write(tmp_path, RUNS[1], record(RUNS[1], value=9.0, fingerprint=OTHER))
    write(tmp_path, RUNS[0], record(RUNS[0], value=1.0))
    found = {series.fingerprint: series for series in history(tmp_path, "fast", "speed")}
    assert {print_: series.values for print_, series in found.items()} == {PRINT: [1.0, 3.0], OTHER: [9.0]}
    assert [result.run for result in found[PRINT].results] == [RUNS[0], RUNS[2]]
    assert found[PRINT].results[0].number("speedup") == Measure(value=1.0, low=1.5, high=2.5, bound=1.2, verdict="pass")


def test_the_last_record_of_a_case_measured_again_counts(tmp_path: Path) -> None:
    write(tmp_path, RUNS[0], record(RUNS[0], value=1.0), record(RUNS[0], "other"), record(RUNS[0], value=2.0))
    assert values(tmp_path) == [2.0]
    assert [(one.case, one.number("speedup").value) for one in latest(tmp_path)] == [("fast", 2.0), ("other", 2.0)]


def test_latest_is_the_newest_of_every_case_measure_and_fingerprint(tmp_path: Path) -> None:
    small = {"measure": "footprint", "measures": {"size_ratio": Measure(value=0.5)}}
    write(tmp_path, RUNS[0], record(RUNS[0], value=1.0), record(RUNS[0], **small), record(RUNS[0], "gone"))
    write(tmp_path, RUNS[2], record(RUNS[2], value=3.0), record(RUNS[2], "new", fingerprint=OTHER))
    write(tmp_path, RUNS[1], record(RUNS[1], value=2.0))
    assert [(one.case, one.measure, one.run, one.fingerprint) for one in latest(tmp_path)] == [
        ("fast", "footprint", RUNS[0], PRINT),
        ("fast", "speed", RUNS[2], PRINT),
        ("gone", "speed", RUNS[0], PRINT),
        ("new", "speed", RUNS[2], OTHER),
    ]


def test_a_number_can_be_asked_for_by_its_name(tmp_path: Path) -> None:
    measures = {"size_ratio": Measure(value=0.5), "peak_memory_bytes": Measure(value=123)}
    write(tmp_path, RUNS[0], record(RUNS[0], measure="footprint", measures=measures), record(RUNS[0]))
    assert values(tmp_path, measure="peak_memory_bytes") == [123]
    assert values(tmp_path, measure="footprint") == [0.5]
    assert values(tmp_path, measure="speedup_vs_control") == [None]
    assert [series.name for series in history(tmp_path, "fast")] == ["size_ratio", "speedup"]


def test_the_headline_of_a_language_model_is_its_perplexity(tmp_path: Path) -> None:
    told = {"perplexity": Measure(value=26.7), "perplexity_rise": Measure(value=0.01)}
    write(tmp_path, RUNS[0], record(RUNS[0], measure="accuracy", measures=told))
    for asked in (None, "accuracy", "perplexity"):
        (series,) = history(tmp_path, "fast", asked)
        assert (series.name, series.values) == ("perplexity", [26.7])
    assert values(tmp_path, measure="perplexity_rise") == [0.01]


def test_what_a_baseline_accepts_is_marked(tmp_path: Path) -> None:
    for run in RUNS:
        write(tmp_path, run, record(run))
    accepted = {("speed", "fast"): Accepted(run=RUNS[1], accepted="2026-11-21")}
    marked = [
        Baseline(PRINT, {}, accepted),
        Baseline(OTHER, {}, {("speed", "fast"): Accepted(run=RUNS[0], accepted="")}),
    ]
    (series,) = history(tmp_path, "fast", accepted=accepted_runs(marked))
    assert [result.accepted for result in series.results] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fsat",), r"^no case 'fsat' in \S+; nearest: fast$"),
        (("zzzzzzzz",), r"; there are 1 cases$"),
        (("fast", "footprint"), r"^case 'fast' has no record of footprint$"),
        (("fast", "spede"), r"^no measure 'spede'; nearest: speed"),
        (("\x1b[2J<b>",), r"^no case '.+x1b\[2J<b>' in"),
    ],
)
def test_an_unknown_name_is_one_line(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    write(tmp_path, RUNS[0], record(RUNS[0]))
    with pytest.raises(ResultsError, match=told) as error:
        history(tmp_path, *arguments)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("place", ["{}/absent", "memory://{}/absent", "nosuch://{}/x", "{}"])
def test_a_place_without_runs_is_one_line(tmp_path: Path, place: str) -> None:
    with pytest.raises(ResultsError) as error:
        latest(place.format(tmp_path))
    assert str(error.value).isprintable()
    assert "run" in str(error.value) or "nosuch" in str(error.value)


# -- wherever the files lie ------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    yield "memory://bucket/runs"
    memory.rm("/bucket", recursive=True)


def test_runs_under_a_url_are_queried_where_they_lie(tmp_path: Path, bucket: str) -> None:
    for run in RUNS:
        path = write(tmp_path, run, record(run))
        fsspec.filesystem("memory").pipe(f"{bucket}/{path.name}", path.read_bytes())
    fsspec.filesystem("memory").pipe(f"{bucket}/broken.jsonl", b"garbage\n")
    with Runs(bucket) as runs, Runs(tmp_path) as local:
        assert runs.latest() == local.latest()
        assert runs.history("fast") == local.history("fast")
        assert runs.problems == ["broken.jsonl: not a run: line 1: not JSON at column 1: Expecting value"]


@pytest.mark.parametrize("name", ["it's", "a[b]c", "what?", "x=1", "spaces and ünï", "star*"])
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, RUNS[0], record(RUNS[0]))
    write(tmp_path / "ab" / "c", RUNS[0], record(RUNS[0], value=5.0))
    assert values(tmp_path / name) == [2.0]
    assert values(tmp_path / name / f"{RUNS[0]}.jsonl") == [2.0]


# -- damage ----------------------------------------------------------------------------------------


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


# -- the index -------------------------------------------------------------------------------------


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(query, "_KEEP_FROM", 1)
    monkeypatch.setenv("PRESSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def index_file(folder: Path) -> Path:
    return index.index_path(str(folder))


def test_what_is_indexed_is_not_parsed_again(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in RUNS[:2]:
        write(indexed, run, record(run))
    first = latest(indexed)
    read: list[str] = []
    monkeypatch.setattr(scan.Scanner, "read", lambda self, sheets: read.extend(f.name for _, f in sheets))
    assert latest(indexed) == first
    assert (read, index_file(indexed).is_file()) == ([], True)


def test_the_index_is_never_trusted_over_the_files(indexed: Path) -> None:
    paths = [write(indexed, run, record(run, value=float(n))) for n, run in enumerate(RUNS, 1)]
    assert values(indexed) == [1.0, 2.0, 3.0]
    paths[0].unlink()
    assert values(indexed) == [2.0, 3.0]
    paths[1].write_bytes(paths[1].read_bytes().replace(b'"value":2.0', b'"value":7.0'))
    os.utime(paths[1], (1, 1))
    assert values(indexed) == [7.0, 3.0]
    write(indexed, "20261122T000000Z-dddd", record("20261122T000000Z-dddd", value=4.0), end=False)
    assert values(indexed) == [7.0, 3.0, 4.0]
    index_file(indexed).write_bytes(b"no index at all" * 1000)
    assert values(indexed) == [7.0, 3.0, 4.0]
    index_file(indexed).unlink()
    assert values(indexed) == [7.0, 3.0, 4.0]


def test_damage_is_told_from_the_index_too(indexed: Path) -> None:
    path = write(indexed, RUNS[0], record(RUNS[0]))
    path.write_bytes(path.read_bytes().replace(b'"kind":"end"', b'"kind":"e'))
    for _ in range(2):
        with Runs(indexed) as runs:
            assert (runs.records, len(runs.problems)) == (1, 1)


def test_an_index_that_cannot_be_written_costs_nothing(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSBENCH_CACHE", os.devnull)
    write(indexed, RUNS[0], record(RUNS[0]))
    assert values(indexed) == values(indexed) == [2.0]


def test_who_reads_an_index_goes_on_while_it_is_replaced(indexed: Path) -> None:
    write(indexed, RUNS[0], record(RUNS[0], value=1.0))
    latest(indexed)
    with Runs(indexed) as before:
        write(indexed, RUNS[1], record(RUNS[1], value=2.0))
        assert values(indexed) == [1.0, 2.0]
        assert before.history("fast")[0].values == [1.0]
    assert [path.name for path in index_file(indexed).parent.iterdir()] == [index_file(indexed).name]


def test_the_index_says_what_the_files_say(indexed: Path) -> None:
    write_runs(indexed, runs=6, records=30)
    straight, again = latest(indexed), latest(indexed)
    assert straight == again
    assert len(straight) == 6 * 30  # each run has a machine of its own
    assert len(history(indexed, case_name(3), "speed")) == 6


# -- writers beside --------------------------------------------------------------------------------

WRITERS, WRITTEN = 8, 25


def write_slowly(folder: Path, number: int, start: Any) -> None:
    """One process's run: lines long enough to be written in several pages."""
    run = f"20261121T00000{number}Z-{number:04x}"
    start.wait()
    with RunWriter(folder, RunHeader(run=run, started="2026-11-21T00:00:00+00:00")) as writer:
        for index in range(WRITTEN):
            samples = [random.Random(index).random()] * 2000
            writer.write(record(run, f"case {index}", float(number), evidence={"samples": samples}))
        writer.finish()


def test_eight_writers_lose_nothing_and_a_query_beside_them_sees_whole_lines(indexed: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    start = context.Event()
    processes = [context.Process(target=write_slowly, args=(indexed, n, start)) for n in range(WRITERS)]
    for process in processes:
        process.start()
    write(indexed, RUNS[0], record(RUNS[0], "before"))
    start.set()
    seen, counts = 0, []
    while any(process.is_alive() for process in processes):
        with Runs(indexed) as runs:
            # A file may be found between its making and its first line.
            assert [text for text in runs.problems if "it is empty" not in text] == []
            found = [result for result in runs.latest() if result.case != "before"]
            counts.append(runs.records)
        assert all(result.number("speedup").value == int(result.run[14]) for result in found)
        seen += 1
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen and counts == sorted(counts)
    with Runs(indexed) as runs:
        assert (runs.records, runs.problems) == (WRITERS * WRITTEN + 1, [])
    found = [read_run(path) for path in sorted(indexed.glob("*.jsonl")) if path.stem != RUNS[0]]
    assert [len(run.cases) for run in found] == [WRITTEN] * WRITERS
    assert all(run.end and not run.damaged for run in found)


@pytest.mark.skipif(store.fcntl is None, reason="files cannot be locked")
def test_half_a_line_is_damage_only_once_nobody_writes_it(indexed: Path) -> None:
    with RunWriter(indexed, RunHeader(run=RUNS[0], started="")) as writer:
        writer.write(record(RUNS[0]))
        with writer.path.open("ab") as file:
            file.write(to_line(record(RUNS[0], "half"))[:40])
        with Runs(indexed) as runs:
            assert (runs.cases(), runs.problems) == (["fast"], [])
    with Runs(indexed) as runs:
        assert runs.cases() == ["fast"]
        assert [text.partition(",")[0] for text in runs.problems] == [f"{RUNS[0]}.jsonl line 3: cut short"]
