"""Choosing rows, columns, groups and order; and several machines in one table."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import RUN, case, nightly, three, write

from results.store.record import CaseRecord, RunHeader
from results.store.store import Run
from results.store.strict_json import ResultsError
from results.table.choice import Choice
from results.table.grid import Grid, grid
from results.table.grid_data import grid_csv, grid_json
from results.table.grid_text import grid_markdown, print_grid
from results.table.table import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def names(found: Grid) -> list[list[str]]:
    return [[line[0].text for line in block.lines] for block in found.blocks]


def run_on(
    folder: Path, name: str, machine: str, cases: list[CaseRecord], started: str = "2026-11-21T22:15:30+00:00"
) -> Run:
    """A run on the machine called so; its fingerprint is of its name."""
    folder = folder / name
    folder.mkdir()
    print_ = {"name": machine.partition("#")[0], "threads": 2, "hash": machine.encode().hex(), "key": {"cpu": machine}}
    stored = write(folder, cases)
    return replace(stored, header=RunHeader(run=name, started=started, machine=print_, expected=()))


def text_of(found: Grid, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        print_grid(found, console)
    return capture.get()


def test_columns_are_those_asked_for_in_their_order(tmp_path: Path) -> None:
    found = grid([write(tmp_path, nightly())], Choice(columns=("size", "accuracy", "size")))
    assert [head.name for head in found.heads] == ["compressor", "size", "accuracy"]
    assert "size of dense, ×" in text_of(found) and "accuracy, %" in text_of(found)
    by_record_name = grid([write(tmp_path / "b", nightly())], Choice(columns=("size_ratio",)))
    assert [head.name for head in by_record_name.heads] == ["compressor", "size"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice(columns=("acuracy",)), "no column 'acuracy'; nearest: accuracy"),
        (Choice(sort="-sped"), "no column 'sped'; nearest: speedup"),
        (Choice(rows=("int8-openvin",)), "no compressor or case 'int8-openvin'; nearest: int8-openvino"),
        (Choice(hardware=("cpu-vni",)), "no hardware 'cpu-vni'; nearest: cpu-vnni"),
        (Choice(hardware=("tpu\x1b",)), r"no hardware 'tpu\\x1b'; "),
        (Choice(group="famly"), "no group 'famly'; nearest: family"),
        (Choice(columns=("?",)), "no column '?'; there are accuracy, drop, "),
    ],
)
def test_an_unknown_name_is_told_the_nearest(tmp_path: Path, choice: Choice, told: str) -> None:
    run = write(tmp_path, nightly())
    for draw in (
        lambda: grid([run], choice),
        lambda: None if choice.columns else render(run, "markdown", choice=choice),
    ):
        try:
            draw()
        except ResultsError as error:
            assert str(error).startswith(told) or told in str(error)
            assert "\n" not in str(error)
        else:
            assert choice.columns


def test_rows_are_chosen_by_compressor_or_case_and_the_rest_is_counted(tmp_path: Path) -> None:
    run = write(tmp_path, nightly())
    assert names(grid([run], Choice(rows=("int8-*", "*-vit-*")))) == [["int8-openvino"], ["int8-openvino"]]
    assert names(grid([run], Choice(rows=("dense", "svd-rank-64-minilm-bbc-cpu")))) == [["dense", "svd-rank-64"]]
    text = render(run, "markdown", choice=Choice(rows=("svd*",)))
    assert "2 fail, 1 error" in text  # the run's own counts
    assert "1 of 8 rows are shown" in text and "steal time 14 %" in text
    assert "magnitude" not in text and "gptq" not in text


def test_hardware_is_chosen_by_name_or_class(tmp_path: Path) -> None:
    fast = three("int8", (0.9, 0, 0, 0), (4.0, 3.9, 4.1, 1), 0.2, hardware="cuda", hardware_class="cuda-sm90")
    run = write(tmp_path, [*nightly(), *fast])
    for pattern in ("cuda", "cuda-sm90", "cuda*"):
        assert names(grid([run], Choice(hardware=(pattern,)))) == [["int8"]]
        assert [
            row["hardware"] for row in json.loads(render(run, "json", choice=Choice(hardware=(pattern,))))["rows"]
        ] == ["cuda"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("speedup", ["int8-openvino", "svd-rank-64", "magnitude-0.9", "gptq-4bit", "fp8-dynamic"]),
        ("-speedup", ["magnitude-0.9", "svd-rank-64", "int8-openvino", "gptq-4bit", "fp8-dynamic"]),
        ("size", ["magnitude-0.9", "int8-openvino", "svd-rank-64", "gptq-4bit", "fp8-dynamic"]),
        ("drop", ["svd-rank-64", "int8-openvino", "magnitude-0.9", "gptq-4bit", "fp8-dynamic"]),
        ("compressor", ["fp8-dynamic", "gptq-4bit", "int8-openvino", "magnitude-0.9", "svd-rank-64"]),
        ("accuracy-verdict", ["int8-openvino", "magnitude-0.9", "svd-rank-64", "gptq-4bit", "fp8-dynamic"]),
    ],
)
def test_sorted_best_first_under_dense_and_controls(tmp_path: Path, sort: str, expected: list[str]) -> None:
    run = write(tmp_path, nightly())
    assert names(grid([run], Choice(sort=sort)))[0] == ["dense", "openvino-fp32", *expected]
    lines = list(csv.DictReader(io.StringIO(render(run, "csv", choice=Choice(sort=sort)))))
    assert [line["compressor"] for line in lines][:7] == ["dense", "openvino-fp32", *expected]


def test_families_stand_together_and_are_compared_among_themselves(tmp_path: Path) -> None:
    def method(name: str, family: str, speedup: float) -> list[CaseRecord]:
        return three(name, (0.9, 0, 0, 0), (speedup, speedup - 0.1, speedup + 0.1, 1), 0.2, family=family)

    cases = [
        *method("q1", "quantization", 4.0), *method("p1", "pruning", 1.5), *method("q2", "quantization", 3.0),
        *method("p2", "pruning", 1.1), case("dense", role="dense", family="dense", verdict="measured"),
    ]  # fmt: skip
    run = write(tmp_path, cases)
    found = grid([run], Choice(group="family", columns=("speedup",)))
    assert [block.title.rpartition(": ")[2] for block in found.blocks] == [
        "dense and controls",
        "quantization",
        "pruning",
    ]
    assert names(found) == [["dense"], ["q1", "q2"], ["p1", "p2"]]
    assert {line[0].text for block in found.blocks for line in block.lines if line[1].best} == {"q1", "p1"}
    assert "### minilm on bbc, cpu (cpu-vnni): pruning" in render(run, "markdown", choice=Choice(group="family"))


def test_grouped_by_hardware_or_model(tmp_path: Path) -> None:
    cases = [
        case("a", model=m, hardware=h, case=f"a-{m}-{h}")
        for m, h in (("m1", "cpu"), ("m2", "cuda"), ("m1", "cuda"), ("m2", "cpu"))
    ]
    run = write(tmp_path, cases)

    def order(group: str | None) -> list[str]:
        return [block.title.split(" (")[0] for block in grid([run], Choice(group=group)).blocks]

    assert order("model") == ["m1 on bbc, cpu", "m1 on bbc, cuda", "m2 on bbc, cuda", "m2 on bbc, cpu"]
    assert order("hardware") == ["m1 on bbc, cpu", "m2 on bbc, cpu", "m2 on bbc, cuda", "m1 on bbc, cuda"]


def test_examples_pairs_and_bounds_are_told(tmp_path: Path) -> None:
    cases = [
        replace(record, evidence={**record.evidence, "examples": 1063}) if record.measure == "accuracy" else record
        for record in nightly()
    ]
    run = write(tmp_path, cases)
    for text in (text_of(grid([run], Choice())), grid_markdown(grid([run], Choice()))):
        assert "1,063 test examples; 24 pairs of timings at 8x128; best control: openvino-fp32" in text
        assert "(≥ 2.00) ✓" in text and "(≤ 0.300) ✗" in text
    for format in ("terminal", "markdown"):
        assert "best control: openvino-fp32; 1,063 test examples" in render(run, format)
    assert {row["examples"] for row in json.loads(render(run, "json"))["rows"]} == {1063, None}
    assert {line["examples"] for line in csv.DictReader(io.StringIO(render(run, "csv")))} == {"1063", ""}
    latex = render(run, "latex")
    assert "1,063 test examples" in latex and "24 pairs of timings" in latex
    assert r"$\leq$ 0.300 (int8-openvino, magnitude-0.9, svd-rank-64) (minilm on bbc, cpu (cpu-vnni))" in latex


def test_the_workload_is_a_column_where_there_are_two_and_no_row_is_repeated(tmp_path: Path) -> None:
    cases = [case("a"), *(case("a", "speed", workload=w, case=f"a-{w}") for w in ("1x16", "8x128"))]
    run = write(tmp_path, cases)
    assert [head.name for head in grid([run], Choice(columns=("speedup",))).heads] == [
        "compressor",
        "workload",
        "speedup",
    ]
    assert names(grid([run], Choice(columns=("accuracy",)))) == [["a"]]


def both(tmp_path: Path) -> list[Run]:
    here = [
        *three("int8", (0.96, 0.01, 0, 0.02), (2.6, 2.5, 2.7, 1), 0.25),
        *three("svd", (0.95, 0.02, 0, 0.03), (1.5, 1.4, 1.6, 1), 0.3),
    ]
    there = [
        *three("int8", (0.96, 0.01, 0, 0.02), (1.1, 1.0, 1.2, 1), 0.25, hardware_class="cpu-amx"),
        *three("svd", (0.95, 0.02, 0, 0.03), (1.9, 1.8, 2.0, 1), 0.3, hardware_class="cpu-amx"),
        *three("extra", (0.9, 0.07, 0, 0.1), (1.3, 1.2, 1.4, 1), 0.4, hardware_class="cpu-amx"),
    ]
    return [run_on(tmp_path, "one", "EPYC", here), run_on(tmp_path, "two", "Xeon", there)]


def test_two_machines_stand_side_by_side(tmp_path: Path) -> None:
    found = grid(both(tmp_path), Choice(columns=("speedup", "size")))
    assert found.machines == ("EPYC", "Xeon")
    assert [(head.name, head.machine) for head in found.heads] == [
        ("compressor", None), ("speedup", 0), ("size", 0), ("speedup", 1), ("size", 1),
    ]  # fmt: skip
    (block,) = found.blocks
    assert [[cell.text for cell in line] for line in block.lines] == [
        ["int8", "2.60", "0.250", "1.10", "0.250"],
        ["svd", "1.50", "0.300", "1.90", "0.300"],
        ["extra", "–", "–", "1.30", "0.400"],
    ]
    assert [[cell.best for cell in line[1:]] for line in block.lines] == [
        [True, True, False, True],
        [False, False, True, False],
        [False, False, False, False],
    ]
    (header, *lines) = csv.reader(io.StringIO(grid_csv(found)))
    assert len(set(header)) == len(header) == len(lines[0])
    values = dict(zip(header, lines[1], strict=True))
    assert (values["EPYC: speedup"], values["Xeon: speedup"], values["Xeon: speedup_best"]) == ("1.5", "1.9", "true")
    rows: list[Any] = json.loads(grid_json(found))["rows"]
    assert [m["speedup"]["value"] for m in rows[1]["machines"]] == [1.5, 1.9]
    assert rows[2]["machines"][0]["speedup"]["value"] is None
    assert "| compressor | EPYC: speed-up over dense, × | EPYC: size of dense, × | Xeon:" in grid_markdown(found)


def test_a_machine_without_the_chosen_hardware_has_no_columns(tmp_path: Path) -> None:
    found = grid(both(tmp_path), Choice(hardware=("cpu-amx",)))
    assert names(found) == [["int8", "svd", "extra"]] and found.machines == ()
    assert any("nothing of the chosen hardware was recorded on EPYC" in note for note in found.notes)


def test_of_one_machines_runs_the_newest_record_of_each_case_counts(tmp_path: Path) -> None:
    old = [
        replace(r, ended="2026-11-20T10:00:00+00:00") for r in three("int8", (0.9, 0, 0, 0), (2.0, 1.9, 2.1, 1), 0.2)
    ]
    old += [case("svd", ended="2026-11-20T10:00:00+00:00")]
    new = [
        replace(r, ended="2026-11-21T01:00:00+02:00") for r in three("int8", (0.9, 0, 0, 0), (3.0, 2.9, 3.1, 1), 0.2)
    ]
    first = run_on(tmp_path, "a", "EPYC", old, "2026-11-20T09:00:00+00:00")
    second = run_on(tmp_path, "b", "EPYC", new, "2026-11-20T22:00:00+00:00")
    for order in ([first, second], [second, first], [second, first, first]):
        found = grid(order, Choice(columns=("speedup",)))
        assert found.machines == ()
        assert {line[0].text: line[1].text for line in found.blocks[0].lines} == {"int8": "3.00", "svd": "–"}
        assert any("2 runs of one machine, the newest record of each case counts: 3 of 4" in n for n in found.notes)
        assert sum("run a" in note or "run b" in note for note in found.notes) >= 2


def test_machines_of_one_name_are_told_apart_and_in_what_they_differ(tmp_path: Path) -> None:
    runs = [
        run_on(tmp_path, name, f"EPYC#{name}", three("int8", (0.9, 0, 0, 0), (2, 1.9, 2.1, 1), 0.2)) for name in "ab"
    ]
    found = grid(runs, Choice())
    assert found.machines == ("EPYC (1)", "EPYC (2)")
    assert any("differs from EPYC (1) in cpu: EPYC#b, not EPYC#a" in note for note in found.notes)


def test_runs_that_kept_no_fingerprint_are_not_taken_for_one_machine(tmp_path: Path) -> None:
    runs = [run_on(tmp_path, name, "", [case("int8")]) for name in "ab"]
    runs = [replace(run, header=replace(run.header, machine={"name": "EPYC"})) for run in runs]
    assert grid(runs, Choice()).machines == ("EPYC (1)", "EPYC (2)")


def test_an_interrupted_run_is_told(tmp_path: Path) -> None:
    run = write(tmp_path, nightly()[:3], end=False, expected=("int8-openvino-minilm-bbc-cpu", "gone"))
    assert any("interrupted" in note and "not executed: gone" in note for note in grid([run], Choice()).notes)


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_number_is_cut_however_many_columns(tmp_path: Path, width: int) -> None:
    every = ("accuracy", "drop", "speedup", "over-control", "size", "disk", "memory", "compress", "pairs", "family")
    text = text_of(grid(both(tmp_path), Choice(columns=every)), width)
    assert max(map(cell_len, text.splitlines())) <= width
    for number in ("+1.0", "[0.0, +2.0]", "[2.50, 2.70]", "21.7", "74", "0.250", "182"):
        assert number in text, number
    assert "…" not in text


def test_the_grid_keeps_the_numbers_as_recorded_for_programs(tmp_path: Path) -> None:
    found = grid([write(tmp_path, nightly())], Choice(columns=("accuracy", "memory", "workload"), rows=("int8*",)))
    row = json.loads(grid_json(found))["rows"][0]
    assert row["machines"][0]["accuracy"] == {
        "value": 0.968, "low": None, "high": None, "bound": None, "verdict": "pass", "best": False,
    }  # fmt: skip
    assert row["machines"][0]["memory"]["value"] == int(182.4 * 2**20) and row["shared"]["workload"] == "8x128"
    assert row["cases"][0] == "int8-openvino-minilm-bbc-cpu" and json.loads(grid_json(found))["machines"][0][
        "runs"
    ] == [RUN]


def test_columns_without_a_number_are_left_out_unless_chosen(tmp_path: Path) -> None:
    run = write(tmp_path, three("int8", (0.9, 0.01, 0.0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3)[:1])
    assert [head.name for head in grid([run], Choice()).heads] == ["compressor", "accuracy", "drop"]
    chosen = grid([run], Choice(columns=("accuracy", "compress")))
    assert [head.name for head in chosen.heads] == ["compressor", "accuracy", "compress"]
    broken = write(tmp_path / "broken", [case("int8", "speed", verdict="error")])
    assert [head.name for head in grid([broken], Choice()).heads] == ["compressor", "speedup"]
