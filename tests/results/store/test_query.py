"""Queries over many runs: the newest results and the history of a case, wherever the files lie."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

sys.path.append(str(Path(__file__).parent))
from stored_runs import PRINT, RUNS, record, values, write

from results.history.baseline import Accepted, Baseline, accepted_runs
from results.store.query import Runs, history, latest
from results.store.record import Measure
from results.store.strict_json import ResultsError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
OTHER = "cd" * 32


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
