"""What a reader of the table relies on, in every format, whatever a record holds."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from results.record import CaseRecord, Measure, RunEnd, RunHeader
from results.rows import rows, summary
from results.store import Run, RunWriter, read_run
from results.strict_json import ResultsError
from results.table import FORMATS, render

RUN = "20261121T221530Z-3f2a"
HOSTILE = [
    "[red]x[/red]",
    "[link=http://a.example]x[/link]",
    "\x1b[31mred\x1b[0m\x07",
    "a|b\\|c",
    "two\r\nlines",
    "<script>alert(1)</script>",
    "![x](http://a.example/p.png)",
    "=cmd()",
    "@SUM(A1)",
    "\u202eevil",
    "\ud800lone",
    ":boom:",
    "日本語モデル",
    "`code` *bold* __it__",
]


def case(compressor: str, measure: str = "accuracy", **changes: Any) -> CaseRecord:
    """A record with the keys that every record has."""
    workload = "8x128" if measure == "speed" else None
    model, task = changes.get("model", "minilm"), changes.get("task", "bbc")
    record: dict[str, Any] = {
        "run": RUN,
        "case": "-".join(filter(None, (compressor, model, task, "cpu", workload))),
        "measure": measure,
        "compressor": compressor,
        "model": "minilm",
        "task": "bbc",
        "hardware": "cpu",
        "hardware_class": "cpu-vnni",
        "verdict": "pass",
        "workload": workload,
        "ended": "2026-11-21T22:16:04+00:00",
    }
    return CaseRecord(**record | changes)


def three(
    compressor: str,
    accuracy: tuple[float, float, float, float],
    speed: tuple[float, float, float, float],
    size: float,
    *,
    verdicts: tuple[str, str, str] = ("pass", "pass", "pass"),
    reasons: tuple[str, str, str] = ("", "", ""),
    **changes: Any,
) -> list[CaseRecord]:
    """Accuracy, speed and footprint of one compressor. accuracy: value, then drop, low, high; speed:
    value, low, high, then the ratio over the best control."""
    value, drop, drop_low, drop_high = accuracy
    speedup, low, high, over = speed
    judged = changes.get("role") != "control"
    target = 2.0 if judged and changes.get("effect", "kernel") == "kernel" else None
    measures = [
        {
            "accuracy": Measure(value=value),
            "accuracy_drop": Measure(
                value=drop, low=drop_low, high=drop_high, bound=0.01 if judged else None, verdict=verdicts[0]
            ),
        },
        {
            "speedup": Measure(value=speedup, low=low, high=high, bound=target, verdict=verdicts[1]),
            "speedup_vs_control": Measure(value=over, low=over - 0.04, high=over + 0.03),
        },
        {
            "size_ratio": Measure(value=size, bound=0.3 if judged else None, verdict=verdicts[2]),
            "disk_bytes": Measure(value=int(90_900_000 * size)),
            "peak_memory_bytes": Measure(value=int(182.4 * 2**20)),
            "compress_seconds": Measure(value=74.2),
        },
    ]
    evidence = [{"flips": [3, 5]}, {"pairs": 24, "control": "openvino-fp32"}, {}]
    return [
        case(
            compressor,
            measure,
            verdict=verdicts[i],
            reason=reasons[i],
            measures=measures[i],
            evidence=evidence[i],
            **changes,
        )
        for i, measure in enumerate(("accuracy", "speed", "footprint"))
    ]


def nightly() -> list[CaseRecord]:
    """A night's run on one small machine: two models, every verdict, methods before their references."""
    dense = {"accuracy": Measure(value=0.971)}
    small = {"size_ratio": Measure(value=1.0), "peak_memory_bytes": Measure(value=401 * 2**20)}
    return [
        *three("int8-openvino", (0.968, 0.003, -0.002, 0.009), (2.61, 2.55, 2.70, 1.41), 0.254),
        *three(
            "magnitude-0.9",
            (0.611, 0.36, 0.331, 0.389),
            (0.99, 0.97, 1.01, 0.53),
            0.112,
            effect="storage",
            verdicts=("fail", "measured", "pass"),
            reasons=("drop 36.0 points [33.1, 38.9], allowed 1.0: lost far more than the margin", "", ""),
        ),
        *three(
            "svd-rank-64",
            (0.969, 0.002, -0.004, 0.012),
            (1.93, 1.84, 2.06, 1.04),
            0.302,
            verdicts=("inconclusive", "unqualified", "fail"),
            reasons=(
                "drop 0.2 points [−0.4, +1.2], allowed 1.0: 1,000 examples cannot decide it; 2,400 could",
                "steal time 14 % while timing (10 % allowed)",
                "size 0.302×, allowed 0.300×",
            ),
        ),
        case("gptq-4bit", verdict="unsupported", reason="needs gptqmodel: pip install 'pressbench[gptq]'"),
        case("fp8-dynamic", "speed", verdict="error", reason="the worker was killed (signal 9) after 41 s"),
        case("dense", role="dense", measures=dense, verdict="measured"),
        case("dense", "footprint", role="dense", measures=small, verdict="measured"),
        *three(
            "openvino-fp32",
            (0.971, 0.0, 0.0, 0.0),
            (1.85, 1.79, 1.92, 1.0),
            1.003,
            role="control",
            verdicts=("measured", "measured", "measured"),
        ),
        *three("int8-openvino", (0.913, 0.001, -0.003, 0.006), (2.20, 2.11, 2.31, 1.2), 0.26, model="vit-tiny"),
    ]


def write(folder: Path, cases: list[CaseRecord], *, end: bool = True, expected: tuple[str, ...] | None = None) -> Run:
    """A run file with `cases` in it, read back."""
    header = RunHeader(
        run=RUN,
        started="2026-11-21T22:15:30+00:00",
        pressbench="0.1.0",
        options={"tier": "nightly"},
        machine={"name": "Intel Xeon Platinum 8488C", "threads": 2},
        expected=tuple(record.case for record in cases) if expected is None else expected,
    )
    with RunWriter(folder, header) as writer:
        for record in cases:
            writer.write(record)
        if end:
            writer.finish({"compress": 812.4, "speed": 604, "accuracy": 388.1, "train": 0})
    return read_run(writer.path)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_store.py` is about what reaches the disk; here it would only take time."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def terminal(run: Run, width: int = 120) -> str:
    return render(run, "terminal", Console(file=io.StringIO(), width=width, color_system=None))


def test_rows_join_the_measures_and_stand_dense_first(tmp_path: Path) -> None:
    found = rows(write(tmp_path, nightly()))
    assert [(row.first.model, row.label, row.first.role) for row in found] == [
        ("minilm", "dense", "dense"),
        ("minilm", "openvino-fp32", "control"),
        ("minilm", "int8-openvino", "method"),
        ("minilm", "magnitude-0.9", "method"),
        ("minilm", "svd-rank-64", "method"),
        ("minilm", "gptq-4bit", "method"),
        ("minilm", "fp8-dynamic", "method"),
        ("vit-tiny", "int8-openvino", "method"),
    ]
    row = found[2]
    assert (row.workload, row.pairs, row.control) == ("8x128", 24, "openvino-fp32")
    assert (row.measure("accuracy").value, row.measure("speedup").low) == (0.968, 2.55)
    assert row.verdict("footprint") == "pass"
    assert found[0].verdict("speed") is None and found[0].measure("speedup").value is None


def test_each_workload_has_its_row_with_the_accuracy_of_its_compressor(tmp_path: Path) -> None:
    cases = [
        case("int8", measures={"accuracy": Measure(value=0.9)}),
        case("int8", "speed", workload="1x16", case="int8-1x16", measures={"speedup": Measure(value=1.2)}),
        case("int8", "speed", workload="8x128", case="int8-8x128", measures={"speedup": Measure(value=2.2)}),
    ]
    found = rows(write(tmp_path, cases))
    assert [(row.workload, row.measure("speedup").value) for row in found] == [("1x16", 1.2), ("8x128", 2.2)]
    assert [row.measure("accuracy").value for row in found] == [0.9, 0.9]


def test_compressors_that_differ_in_parameters_alone_are_told_apart(tmp_path: Path) -> None:
    cases = [
        case(
            "magnitude",
            case=f"magnitude-{s}",
            parameters={"sparsity": s},
            measures={"accuracy": Measure(value=s)},
        )
        for s in (0.5, 0.9)
    ]
    found = rows(write(tmp_path, cases))
    assert [row.label for row in found] == ["magnitude (sparsity=0.5)", "magnitude (sparsity=0.9)"]
    assert [row.measure("accuracy").value for row in found] == [0.5, 0.9]


def test_two_tasks_of_one_model_do_not_mix(tmp_path: Path) -> None:
    cases = [case("int8", task=task, measures={"accuracy": Measure(value=v)}) for task, v in (("a", 0.1), ("b", 0.2))]
    found = rows(write(tmp_path, cases))
    assert [(row.first.task, row.measure("accuracy").value) for row in found] == [("a", 0.1), ("b", 0.2)]


def test_a_case_measured_again_counts_once_and_says_so(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        [case("int8", verdict="fail", reason="first try"), case("int8")],
        expected=("int8-minilm-bbc-cpu",),
    )
    assert [row.verdict("accuracy") for row in rows(run)] == ["pass"]
    text = terminal(run)
    assert "executed 1 of 1: 1 pass" in text
    assert "int8-minilm-bbc-cpu: measured more than once, the last record counts" in text
    assert "first try" not in text


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


def test_long_names_are_folded_before_numbers_are(tmp_path: Path) -> None:
    name = "prune-then-quantize-then-distill-with-a-very-long-suffix"
    text = terminal(write(tmp_path, three(name, (0.9, 0.001, 0, 0.002), (2.6, 2.5, 2.7, 1.3), 0.2)), 80)
    assert "2.60× [2.50, 2.70]" in text and "speed-up over dense  " in text
    column = "".join(line[:16].strip() for line in text.splitlines() if not line.startswith("time"))
    assert name in column


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
    assert "time 30.1 min: compress 13.5 min (45%), speed 10.1 min (33%), accuracy 388 s (22%), train 0 s (0%)" in text


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
        "value": None, "low": 1.5, "high": None, "bound": 2.0, "verdict": "measured", "reason": "",
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


@pytest.fixture
def hostile(tmp_path: Path) -> Run:
    """A run in which every name, reason and note is hostile."""
    cases = [
        case(text, "speed", case=text, reason=text, model=text, task=text, hardware=text, hardware_class=text,
             workload=text, verdict="fail", family=text, parameters={text: text},
             measures={"speedup": Measure(value=-1.5, reason=text)},
             evidence={"pairs": text, "control": text})
        for text in HOSTILE
    ]  # fmt: skip
    header = RunHeader(
        run=RUN, started=HOSTILE[2], machine={"name": HOSTILE[2], "threads": 2}, expected=(*HOSTILE, "|x\x9b")
    )
    with RunWriter(tmp_path, header) as writer:
        for record in cases:
            writer.write(record)
        writer.write(RunEnd(run=RUN, ended="", expected=9, executed=9, counts={}, seconds={"<b>|\x1b": 1}))
    return read_run(writer.path)


@pytest.mark.parametrize("format", FORMATS)
def test_no_format_passes_on_control_characters(hostile: Run, format: str) -> None:
    text = render(hostile, format)
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode()


def test_hostile_names_are_text_in_the_terminal(hostile: Run) -> None:
    text = terminal(hostile, 400)
    for name in (
        "[red]x[/red]",
        "[link=http://a.example]x[/link]",
        r"\x1b[31mred\x1b[0m\x07",
        ":boom:",
        r"\u202eevil",
    ):
        assert name in text, name


def test_hostile_names_keep_markdown_in_its_columns(hostile: Run) -> None:
    text = render(hostile, "markdown")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3 * len(HOSTILE)
    assert {line.count("|") for line in table} == {15}
    assert "<" not in text and "](" not in text.replace("\\]", "")
    assert r"!\[x\](http://a.example/p.png)" in text and "a&#124;b&#92;&#124;c" in text and "two  lines" in text


def test_hostile_names_are_no_formulas_in_csv_and_numbers_stay_numbers(hostile: Run) -> None:
    lines = list(csv.DictReader(io.StringIO(render(hostile, "csv"))))
    assert len(lines) == len(HOSTILE)
    assert all(None not in line and None not in line.values() for line in lines)
    assert {line["speedup"] for line in lines} == {"-1.5"}
    assert "'=cmd()" in {line["compressor"] for line in lines}
    for line in lines:
        numbers = {name for name in line if line[name] == "-1.5"}
        assert not [line[name] for name in line.keys() - numbers if line[name].startswith(("=", "+", "-", "@"))]


def test_hostile_names_are_kept_exactly_in_json(hostile: Run) -> None:
    payload = json.loads(render(hostile, "json"))
    assert [row["compressor"] for row in payload["rows"]] == HOSTILE
    assert [problem["reason"] for problem in payload["problems"]] == HOSTILE
    assert {row["pairs"] for row in payload["rows"]} == {None}


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
        "value": 2.61, "low": 2.55, "high": 2.7, "bound": 2.0, "verdict": "pass", "reason": "",
    }  # fmt: skip
    assert row["verdicts"]["speed"]["case"] == "int8-openvino-minilm-bbc-cpu-8x128"


def test_a_measure_nobody_planned_for_reaches_json(tmp_path: Path) -> None:
    run = write(tmp_path, [case("a", measures={"joules": Measure(value=3)})])
    assert json.loads(render(run, "json"))["rows"][0]["measures"]["joules"]["value"] == 3


def test_an_unknown_format_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no format 'pdf': use one of terminal, markdown, csv, json"):
        render(write(tmp_path, []), "pdf")
