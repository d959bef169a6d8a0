"""What a reader of the table relies on, in every format, whatever a record holds."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import RUN, case, nightly, terminal, three, write

from results.store.record import Measure
from results.store.store import read_run
from results.store.strict_json import ResultsError
from results.table.rows import summary
from results.table.table import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.mark.parametrize("width", [72, 80, 90, 100, 110, 120, 130, 160, 200])
def test_no_number_is_cut_and_no_line_is_too_long(tmp_path: Path, width: int) -> None:
    text = terminal(write(tmp_path, nightly()), width)
    assert max(map(cell_len, text.splitlines())) <= width
    for cell in (
        "97.1 %", "96.8 %", "+0.3 [−0.2, +0.9]", "+36.0 [+33.1, +38.9]", "2.61× [2.55, 2.70]",
        "1.41× [1.37, 1.44]", "0.254×", "182 MiB", "401 MiB", "74 s", "n=24", "✓ pass", "✗ fail",
        "? inconclusive", "~ unqualified", "○ unsupported", "! error", "· measured",
    ):  # fmt: skip
        assert cell in text, cell
    assert "…" not in text


@pytest.mark.parametrize("width", [72, 76, 80, 100, 130])
def test_a_bound_stands_at_its_verdict_at_every_width(tmp_path: Path, width: int) -> None:
    """`+6.0 ✓ pass` says nothing where the bound is 10 points."""
    lines = terminal(write(tmp_path, nightly()), width).splitlines()
    for word, bound in (("✓ pass", "≤ +1.0"), ("? inconclusive", "≤ +1.0"), ("~ unqualified", "≥ 2.00×"),
                        ("✗ fail", "≤ 0.300×")):  # fmt: skip
        at = [n for n, line in enumerate(lines) if word in line]
        assert any(bound in line for n in at for line in lines[n : n + (1 if width in (72, 80, 100) else 2)]), word


def test_long_names_are_folded_before_numbers_are(tmp_path: Path) -> None:
    name = "prune-then-quantize-then-distill-with-a-very-long-suffix"
    text = terminal(write(tmp_path, three(name, (0.9, 0.001, 0, 0.002), (2.6, 2.5, 2.7, 1.3), 0.2)), 80)
    assert "2.60× [2.50, 2.70]" in text and "speed-up over dense  " in text
    column = "".join(line[:16].strip() for line in text.splitlines() if not line.startswith("time"))
    assert name in column


def test_a_name_is_broken_at_its_hyphens(tmp_path: Path) -> None:
    numbers = (0.9, 0.001, 0, 0.002), (2.6, 2.5, 2.7, 1.3), 0.2
    names = ("prune-magnitude-50", "quantize-weights-4bit-g64")
    run = write(tmp_path, [record for name in names for record in three(name, *numbers)])
    lines = [line.split("  ")[0].strip() for line in terminal(run, 80).splitlines()]
    assert lines[lines.index("prune-magnitude-") + 1].startswith("50")
    assert lines[lines.index("quantize-") + 1].startswith("weights-4bit-g64")


def test_a_regression_is_no_matter_of_the_bound_that_it_meets(tmp_path: Path) -> None:
    measures = {"size_ratio": Measure(value=0.547, bound=0.6)}
    kept = case("int8", "footprint", measures=measures)
    worse = case("int4", "footprint", measures=measures, verdict="fail", comparison={"outcome": "regression"})
    shown = terminal(write(tmp_path, [kept, worse]), 120)
    assert "✓ pass" in shown and "≤ 0.600×" in shown
    assert "regressed" in shown and shown.count("≤ 0.600×") == 1


def test_the_title_names_machine_class_threads_and_date(tmp_path: Path) -> None:
    text = terminal(write(tmp_path, nightly()))
    assert "minilm on bbc, cpu (cpu-vnni)\n" in text and "vit-tiny on bbc, cpu (cpu-vnni)\n" in text
    assert f"Intel Xeon Platinum 8488C, 2 threads, 2026-11-21 22:15 UTC, run {RUN}" in text
    assert "dense: torch fp32; best control: openvino-fp32" in text


@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_below_the_table_stand_counts_reasons_and_time(tmp_path: Path, format: str) -> None:
    run = write(tmp_path, nightly())
    text = render(run, format, Console(file=io.StringIO(), width=300, color_system=None))
    assert (
        "executed 19 of 19: 7 pass, 2 fail, 1 error, 1 inconclusive, 1 unqualified, 1 unsupported, 6 measured" in text
    )
    assert len(re.findall(r"(?:fail|error|inconclusive|unqualified|unsupported):? .*-cpu", text)) == 6
    assert "svd-rank-64-minilm-bbc-cpu, footprint: size 0.302×, allowed 0.300×" in text
    assert "steal time 14 % while timing (10 % allowed)" in text
    assert (
        "took 30.1 min: compress 13.5 min (45%), speed 10.1 min (33%), accuracy 388 s (22%)" in text
        and "train" not in text
    )
    assert "at least: speed 502 s, compress 301 s (" in text and "accuracy 0" not in text


def test_one_reason_for_many_cases_stands_once(tmp_path: Path) -> None:
    """A hub that is out of reach is no news for each case; a failure is."""
    why = {"verdict": "unsupported", "reason": "the hub is out of reach"}
    cases = [case(name, measure, **why) for name in ("int8", "int4") for measure in ("accuracy", "speed")]
    cases += [case("svd", measure, verdict="unsupported", reason="no such layer") for measure in ("accuracy", "speed")]
    cases += [case(name, "footprint", verdict="fail", reason="too large") for name in ("int8", "int4")]
    text = terminal(write(tmp_path, cases), 160)
    assert text.count("the hub is out of reach") == 1 and "4 cases of minilm: the hub is out of reach" in text
    assert "svd-minilm-bbc-cpu, accuracy, speed: no such layer" in text
    assert text.count("footprint: too large") == 2


def test_rounding_never_hides_a_missed_bound(tmp_path: Path) -> None:
    measures = {"size_ratio": Measure(value=0.30004, bound=0.3, verdict="fail")}
    speed = {"speedup": Measure(value=1.9996, low=1.9, high=2.1, bound=2.0, verdict="fail")}
    cases = [
        case("a", "footprint", verdict="fail", measures=measures),
        case("a", "speed", verdict="fail", measures=speed),
    ]
    text = terminal(write(tmp_path, cases), 160)
    assert "0.30004×" in text and "≤ 0.30000×" in text
    assert "1.9996× [1.9000, 2.1000]" in text and "≥ 2.0000×" in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("peak_memory_bytes", 512, "512 B"),
        ("peak_memory_bytes", 2**20 - 1, "1.00 MiB"),
        ("peak_memory_bytes", 12.34 * 2**30, "12.3 GiB"),
        ("compress_seconds", 0, "0 s"),
        ("compress_seconds", 0.0123, "0.012 s"),
        ("compress_seconds", 9.996, "10.0 s"),
        ("compress_seconds", 3600, "60.0 min"),
        ("compress_seconds", 10_000, "2.8 h"),
        ("compress_seconds", 1e300, "2.78e+296 h"),
        ("size_ratio", 0.00312, "0.0031×"),
        ("size_ratio", 1e308, "1.00e+308×"),
    ],
)
def test_units(tmp_path: Path, name: str, value: float, expected: str) -> None:
    text = terminal(write(tmp_path, [case("a", "footprint", measures={name: Measure(value=value)})]), 160)
    assert re.search(rf"\s{re.escape(expected)}(\s|$)", text), text


def test_a_drop_that_rounds_to_nothing_has_no_sign(tmp_path: Path) -> None:
    drop = {"accuracy_drop": Measure(value=-0.0001, low=-0.004, high=0.0002)}
    text = terminal(write(tmp_path, [case("a", measures=drop)]))
    assert "0.0 [−0.4, 0.0]" in text and "−0.0" not in text


def test_missing_and_infinite_numbers_are_dashes_never_zero(tmp_path: Path) -> None:
    measures = {"speedup": Measure(value=float("nan"), low=1.5, high=float("inf"), bound=2.0)}
    run = write(tmp_path, [case("a", "speed", measures=measures, verdict="inconclusive")])
    assert "– [1.50, –]" in terminal(run)
    (row,) = json.loads(render(run, "json"))["rows"]
    assert row["measures"]["speedup"] == {
        "value": None, "low": 1.5, "high": None, "bound": 2.0, "verdict": "measured", "reason": "", "best": False,
    }  # fmt: skip
    assert row["measures"]["accuracy"]["value"] is None and row["measures"]["accuracy"]["verdict"] is None
    assert row["verdicts"]["accuracy"] is None
    (line,) = csv.DictReader(io.StringIO(render(run, "csv")))
    assert (line["speedup"], line["speedup_low"], line["speedup_high"], line["accuracy"]) == (
        "",
        "1.5",
        "",
        "",
    )
    assert "| – [1.50, –] |" in render(run, "markdown")


def test_an_interrupted_run_still_has_its_table(tmp_path: Path) -> None:
    cases = nightly()
    run = write(tmp_path, cases[:4], end=False, expected=tuple(record.case for record in cases))
    text = terminal(run)
    assert "interrupted: 4 of 19 cases: 3 pass, 1 fail" in text
    assert "not executed  fp8-dynamic-minilm-bbc-cpu-8x128" in text
    assert "and 3 more" in text
    assert "**interrupted: 4 of 19 cases: 3 pass, 1 fail**" in render(run, "markdown")
    payload = json.loads(render(run, "json"))
    assert payload["interrupted"] is True and payload["ended"] is None and len(payload["missing"]) == 15
    assert {line["run_state"] for line in csv.DictReader(io.StringIO(render(run, "csv")))} == {"interrupted"}


def test_a_run_without_cases_says_so_in_every_format(tmp_path: Path) -> None:
    run = write(tmp_path, [], end=False, expected=("a", "b"))
    for format in ("terminal", "markdown"):
        assert "no case was recorded" in render(run, format) and "interrupted: 0 of 2 cases" in render(run, format)
    assert json.loads(render(run, "json"))["rows"] == []
    assert len(list(csv.reader(io.StringIO(render(run, "csv"))))) == 1


def test_what_is_odd_about_the_file_is_told(tmp_path: Path) -> None:
    run = write(tmp_path, [case("a"), case("b")], expected=("a-minilm-bbc-cpu",))
    lines = run.path.read_bytes().split(b"\n")
    run.path.write_bytes(b"\n".join([lines[0], b"\x1b garbage", *lines[2:]]))
    assert summary(read_run(run.path)).notes == (
        "line 2 could not be read: not JSON at column 1: Expecting value",
        "the run counted 2 pass; its records say 1 pass",
        "b-minilm-bbc-cpu: recorded, but not among the cases the run expected",
    )
    text = terminal(read_run(run.path))
    assert "line 2 could not be read" in text and "the run counted 2 pass" in text


def test_verdicts_are_coloured_and_read_without_colour(tmp_path: Path) -> None:
    run = write(tmp_path, nightly())
    coloured = render(
        run, "terminal", Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard")
    )
    assert "\x1b[32m✓ pass" in coloured and "\x1b[1;31m✗ fail" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == terminal(run, 160)


def test_a_terminal_that_shows_ascii_alone_gets_ascii(tmp_path: Path) -> None:
    run = write(tmp_path, [*nightly(), case("日本語", verdict="fail", reason="é")])
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    text = render(run, "terminal", Console(file=file, width=160, color_system=None))
    assert text.isascii()
    assert "2.61x [2.55, 2.70] n=24" in text and "+0.3 [-0.2, +0.9]" in text and "x fail" in text


def test_csv_and_json_carry_the_numbers_as_recorded(tmp_path: Path) -> None:
    run = write(tmp_path, nightly())
    names, *_ = csv.reader(io.StringIO(render(run, "csv")))
    assert len(set(names)) == len(names)
    lines = list(csv.DictReader(io.StringIO(render(run, "csv"))))
    objects = json.loads(render(run, "json"))["rows"]
    assert len(lines) == len(objects) == 8
    line, row = lines[2], objects[2]
    assert (line["compressor"], line["accuracy_drop_high"], line["accuracy_drop_bound"]) == (
        "int8-openvino",
        "0.009",
        "0.01",
    )
    assert (line["speedup"], line["speedup_verdict"], line["pairs"], line["disk_bytes"]) == (
        "2.61",
        "pass",
        "24",
        "23088600",
    )
    assert row["measures"]["speedup"] == {
        "value": 2.61, "low": 2.55, "high": 2.7, "bound": 2.0, "verdict": "pass", "reason": "", "best": True,
    }  # fmt: skip
    assert row["verdicts"]["speed"]["case"] == "int8-openvino-minilm-bbc-cpu-8x128"


def test_a_measure_nobody_planned_for_reaches_json(tmp_path: Path) -> None:
    run = write(tmp_path, [case("a", measures={"joules": Measure(value=3)})])
    assert json.loads(render(run, "json"))["rows"][0]["measures"]["joules"]["value"] == 3


def test_an_unknown_format_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no format 'pdf': use one of terminal, markdown, csv, json, latex"):
        render(write(tmp_path, []), "pdf")


# -- what was not measured -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 100, 130])
@pytest.mark.parametrize("format", ["terminal", "markdown", "latex"])
def test_what_was_not_measured_has_no_column(tmp_path: Path, format: str, width: int) -> None:
    run = write(tmp_path, three("int8", (0.9, 0.01, 0.0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3)[:1])
    text = terminal(run, width) if format == "terminal" else render(run, format)
    table = (
        text.partition("executed 1")[0]
        if format != "latex"
        else text.partition("\\toprule")[2].partition("\\bottomrule")[0]
    )
    assert "90.0" in table and "accuracy" in table
    for heading in ("time to compress", "compress\n", "speed-up", "of dense", "over dense", "memory", "workload"):
        assert heading not in table, heading


@pytest.mark.parametrize("width", [80, 130])
@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_a_verdict_without_a_number_keeps_its_column(tmp_path: Path, format: str, width: int) -> None:
    accuracy = three("int8", (0.9, 0.01, 0.0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3)[0]
    run = write(tmp_path, [accuracy, case("int8", "speed", verdict="error", reason="died")])
    table = (terminal(run, width) if format == "terminal" else render(run, format)).partition("executed 2")[0]
    assert "! error" in table and "speed-up over dense" in table
    assert "best" not in table and "size" not in table


def test_the_share_of_the_floor_stands_where_decoding_was_timed(tmp_path: Path) -> None:
    measures = {
        "speedup": Measure(value=2.0),
        "bytes_per_token": Measure(value=2**29),
        "bandwidth_floor_share": Measure(value=0.1404),
    }
    run = write(tmp_path, [case("torch-bf16", "speed", workload="decode-1x128-16", measures=measures)])
    for width in (40, 80, 100, 130):
        assert re.search(r"\bfloor\b", terminal(run, width)) and "14 %" in terminal(run, width)
    assert "share of the bandwidth floor" in render(run, "markdown") and "| 14 % |" in render(run, "markdown")
    other = write(tmp_path / "other", three("int8", (0.9, 0.001, 0, 0.002), (2.6, 2.5, 2.7, 1.3), 0.2))
    assert "floor" not in terminal(other, 130) + render(other, "markdown")


@pytest.mark.parametrize(
    ("here", "said"), [(6.3, "6.30 s"), (0.0, "6.30 s, cached"), (2.0, "6.30 s"), (None, "6.30 s"), ("x", "6.30 s")]
)
def test_the_time_to_compress_says_whether_it_was_spent_now(tmp_path: Path, here: object, said: str) -> None:
    evidence = {"compress": {"seconds_in_this_run": here}}
    records = [
        case("int8", "footprint", evidence=evidence, measures={"compress_seconds": Measure(value=6.3)}),
        case("dense", "footprint", role="dense", measures={"compress_seconds": Measure(value=0.0)}),
    ]
    run = write(tmp_path, records)
    text = " ".join(render(run, "terminal", Console(width=200, color_system=None)).split())
    assert said in text and ("cached" in text) == ("cached" in said) and "0 s" not in text.replace("6.30 s", "")
