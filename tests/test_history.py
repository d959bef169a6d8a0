"""`pressbench history`, `import` and `export`: what is shown, what a script gets, what pytest-benchmark reads."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pressbench import cli
from results.history.trend import sparkline
from results.store.record import UNPAIRED, CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import list_runs, read_run

PRINT, OTHER = "ab" * 32, "cd" * 32
SAMPLES = [0.011, 0.010, 0.012, 0.0105]


def store(
    run: str, value: float, case: str = "fast", fingerprint: str = PRINT, verdict: str = "pass", **more: Any
) -> None:
    machine = {"name": f"box {fingerprint[:2]}", "hash": fingerprint, "key": {}}
    started = f"{run[:4]}-{run[4:6]}-{run[6:8]}T00:00:00+00:00"
    with RunWriter(Path("results/runs"), RunHeader(run=run, started=started, machine=machine)) as writer:
        measures = {"speedup": Measure(value=value, low=value - 0.1, high=value + 0.1)}
        who = {"run": run, "case": case, "compressor": case, "model": "m", "hardware": "cpu"}
        evidence = {"compressed_seconds": SAMPLES, "calls_per_slot": {"dense": 1, "compressed": 3}, **more}
        writer.write(CaseRecord(**who, measure="speed", verdict=verdict, measures=measures, evidence=evidence))
        writer.finish()


# -- history ---------------------------------------------------------------------------------------


def test_history_is_a_line_a_run_and_a_sparkline_a_machine(call: Any) -> None:
    for day, value in enumerate((1.0, 2.0, 3.0), 1):
        store(f"2026110{day}T000000Z-aaaa", value)
    store("20261104T000000Z-aaaa", 7.0, fingerprint=OTHER, verdict="fail")
    call("accept", "20261102T000000Z-aaaa", "--reason", "x")
    code, out, err = call("history", "fast")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines() if line.strip()]
    assert lines == [
        "fast, speedup",
        "box ab, fingerprint abababababab",
        "▁▅█ 3 runs, 1.00× to 3.00×",
        "2026-11-01 00:00 UTC 20261101T000000Z-aaaa 1.00× [0.90, 1.10] ✓ pass",
        "2026-11-02 00:00 UTC 20261102T000000Z-aaaa 2.00× [1.90, 2.10] ✓ pass accepted",
        "2026-11-03 00:00 UTC 20261103T000000Z-aaaa 3.00× [2.90, 3.10] ✓ pass",
        "box cd, fingerprint cdcdcdcdcdcd",
        "▄ 1 run, 7.00×",
        "2026-11-04 00:00 UTC 20261104T000000Z-aaaa 7.00× [6.90, 7.10] ✗ fail",
    ]
    for day, examples in enumerate("aab", 5):  # what is measured on other data is another line
        on = {"model": "m", "examples": examples, "metric": "a"}
        store(f"2026110{day}T000000Z-aaaa", 9.0, measured_on=on)
    _, out, _ = call("history", "fast")
    assert "5 runs, 1.00× to 9.00×" in " ".join(out.split())
    assert "on another model or other data than the runs above ▄ 1 run, 9.00×" in " ".join(out.split())
    _, out, _ = call("history", "fast", "--last", "1")
    assert "… 4 earlier" in out
    assert "20261101T000000Z" not in out


def test_history_for_programs(call: Any) -> None:
    store("20261101T000000Z-aaaa", 1.5)
    _, out, _ = call("history", "fast", "--measure", "speedup", "--json")
    (series,) = json.loads(out)["series"]
    assert (series["measure"], series["number"], series["fingerprint"], series["paired"]) == (
        "speed",
        "speedup",
        PRINT,
        True,
    )
    (result,) = series["results"]
    assert (result["run"], result["value"], result["low"]) == ("20261101T000000Z-aaaa", 1.5, 1.4)


def test_history_tells_damage_and_goes_on(call: Any) -> None:
    store("20261101T000000Z-aaaa", 1.5)
    Path("results/runs/20261102T000000Z-bbbb.jsonl").write_bytes(b"\x1b[2Jgarbage\n")
    code, out, err = call("history", "fast")
    assert (code, "1.50×" in out) == (0, True)
    assert err.startswith("pressbench: could not be read: 20261102T000000Z-bbbb.jsonl: not a run: line 1: not JSON")
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("history", "fsat"), "no case 'fsat' in"),
        (("history", "fast", "--measure", "sped"), "no measure 'sped'; nearest: speed"),
        (("history", "fast", "--runs", "absent"), "no runs in"),
        (("history", "fast", "--runs", "nosuch://x"), "nosuch://x: "),
        (("import", "absent.json"), "absent.json: cannot be read: No such file"),
        (("export", "20261101T000000Z-aaaa", "-o", "absent/x.json"), "absent/x.json: cannot be written"),
    ],
)
def test_a_mistake_is_one_line(call: Any, arguments: tuple[str, ...], told: str) -> None:
    store("20261101T000000Z-aaaa", 1.5)
    code, out, err = call(*arguments)
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "blocks", "plain"),
    [
        ([], "", ""),
        ([1, 1], "▄▄", "--"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█", "_.:-=+*#"),
        ([None, 1.0, float("nan"), 2.0], " ▁ █", " _ #"),
        ([-1.7e308, 1.7e308], "▁█", "_#"),
    ],
)
def test_a_sparkline(values: list[float | None], blocks: str, plain: str) -> None:
    assert (sparkline(values), sparkline(values, ascii=True)) == (blocks, plain)


def test_a_terminal_without_unicode_gets_ascii(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store("20261101T000000Z-aaaa", 1.0, case="ünï<b>")
    store("20261102T000000Z-aaaa", 2.0, case="ünï<b>")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    program = "from pressbench.cli import main; main()"
    command = [sys.executable, "-c", program, "history", "ünï<b>"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("ascii")
    assert "_#  2 runs, 1.00x to 2.00x" in out
    assert "\\xfcn\\xef<b>, speedup" in out


# -- pytest-benchmark ------------------------------------------------------------------------------

BENCH = """
import time
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_sleep(benchmark, n):
    benchmark.pedantic(time.sleep, args=(n / 1000,), rounds=5)
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that pytest-benchmark itself wrote."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "test_it.py").write_text(BENCH)
    options = ["-q", "-p", "no:cacheprovider", "--benchmark-json", "out.json"]
    command = [sys.executable, "-m", "pytest", *options, "--benchmark-min-rounds=5", "test_it.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out.json"


def test_a_file_of_pytest_benchmark_is_imported_as_unpaired_history(call: Any, real: Path) -> None:
    store("20200101T000000Z-aaaa", 1.5)
    code, out, _ = call("import", str(real))
    assert code == 0
    assert out.startswith("2 benchmarks imported as run pytest-benchmark-")
    told = {one["fullname"]: one["stats"] for one in json.loads(real.read_text())["benchmarks"]}
    runs = [path for path in list_runs(Path("results/runs")) if path.stem.startswith("pytest-benchmark-")]
    (run,) = map(read_run, runs)
    assert {record.case: record.measures["seconds"].value for record in run.cases} == {
        name: statistics.median(stats["data"]) for name, stats in told.items()
    }
    assert {(record.measure, record.verdict, record.evidence["paired"]) for record in run.cases} == {
        (UNPAIRED, "measured", False)
    }
    assert run.cases[0].evidence["stats"]["data"] == told[run.cases[0].case]["data"]
    _, out, _ = call("history", "test_it.py::test_sleep[2]")
    assert "seconds of one program, not paired, to be compared with nothing else" in out
    assert " ms" in out
    _, out, _ = call("history", "test_it.py::test_sleep[2]", "--json")
    assert [one["paired"] for one in json.loads(out)["series"]] == [False]


def test_what_was_imported_is_never_compared_or_taken_for_the_latest_run(call: Any, real: Path) -> None:
    store("20200101T000000Z-aaaa", 1.5)  # older than what is imported
    _, out, _ = call("import", str(real))
    imported = out.split()[-1]
    assert json.loads(call("table", "--format", "json")[1])["run"] == "20200101T000000Z-aaaa"
    for arguments in (("accept", imported), ("compare", imported), ("compare", imported, "20200101T000000Z-aaaa")):
        code, _, err = call(*arguments)
        assert (code, "kept no fingerprint" in err) == (cli.USAGE_ERROR, True), err
    code, _, err = call("compare", "20200101T000000Z-aaaa", imported)
    assert code == 12, err
    code, _, err = call("import", str(real))
    assert (code, f"imported already, as run {imported}" in err) == (cli.USAGE_ERROR, True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "x.json: not JSON at column 1"),
        (b"[]", "x.json: expected a JSON object"),
        (b"{}", "x.json: key 'datetime': missing"),
        (b'{"datetime": "\\u001b[2J", "benchmarks": [1]}', r"x.json: key 'datetime': not a time: '\\x1b[2J'"),
        (b'{"datetime": "2026-11-22T00:00:00", "benchmarks": []}', "x.json: holds no benchmarks"),
        (b'{"datetime": "2026-11-22T00:00:00", "benchmarks": [3]}', "key 'benchmarks[0]': expected an object"),
        (
            b'{"datetime": "2026-11-22T00:00:00", "benchmarks": [{"fullname": "a", "stats": {"median": "b"}}]}',
            "key 'benchmarks[0].stats.median': expected a number",
        ),
        (
            b'{"datetime": "2026-11-22T00:00:00", "benchmarks": [{"fullname": "a", "stats": {}}]}',
            "key 'benchmarks[0].stats.median': missing",
        ),
        (b'{"datetime": "2026-11-22T00:00:00", "benchmarks": [{"stats": {"median": NaN}}]}', "NaN is not JSON"),
    ],
)
def test_what_is_no_file_of_pytest_benchmark_is_refused_in_one_line(call: Any, content: bytes, told: str) -> None:
    Path("x.json").write_bytes(content)
    code, out, err = call("import", "x.json")
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert told in err
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert not Path("results").exists()


def test_pytest_benchmark_compares_what_is_exported(call: Any) -> None:
    store("20261101T000000Z-aaaa", 1.5)
    store("20261102T000000Z-aaaa", 1.5, case="other")
    for name, run in (("one.json", "20261101T000000Z-aaaa"), ("two.json", "20261102T000000Z-aaaa")):
        assert call("export", run, "--format", "pytest-benchmark", "-o", name)[:2] == (
            0,
            f"1 timed cases written to {name}\n",
        )
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--columns", "min,max,median,rounds,iterations"]
    done = subprocess.run([*command, "one.json", "two.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("fast")]
    assert [cell for cell in row if not cell.startswith("(")][-5:] == ["10.0000", "12.0000", "10.7500", "4", "3"]
    assert any(line.startswith("other") for line in done.stdout.splitlines())


def test_what_is_exported_can_be_imported(call: Any) -> None:
    store("20261101T000000Z-aaaa", 1.5)
    call("export", "20261101T000000Z-aaaa", "-o", "x.json")
    assert call("import", "x.json")[0] == 0
    run = read_run(list_runs(Path("results/runs"))[0])
    assert run.cases[0].measures["seconds"].value == statistics.median(SAMPLES)
    assert call("history", "fast")[1].count("fast, ") == 2


def test_a_run_without_times_is_not_exported(call: Any, real: Path) -> None:
    imported = call("import", str(real))[1].split()[-1]
    code, _, err = call("export", imported, "-o", "x.json")
    assert (code, "has no timed case to export" in err, Path("x.json").exists()) == (cli.USAGE_ERROR, True, False)
