"""`pressbench table` and `pressbench compare` as a person calls them: choices, formats, mistakes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pressbench import cli
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter


def store(name: str, machine: str = "EPYC", started: str = "", **speedups: float) -> None:
    header = RunHeader(run=name, started=started, machine={"name": machine, "hash": machine.encode().hex(), "key": {}})
    with RunWriter(Path("results/runs"), header) as writer:
        for compressor, value in speedups.items():
            who: dict[str, Any] = {"run": name, "compressor": compressor, "model": "m", "hardware": "cpu", "task": "t"}
            who |= {
                "case": f"{compressor}-m-cpu",
                "verdict": "pass",
                "hardware_class": "cpu-vnni",
                "family": compressor[0],
            }
            speed = {"speedup": Measure(value=value, low=value * 0.98, high=value * 1.02, bound=1.5)}
            size = {"size_ratio": Measure(value=1 / value, bound=0.9)}
            writer.write(CaseRecord(**who, measure="speed", measures=speed, evidence={"pairs": 24}, workload="8x128"))
            writer.write(CaseRecord(**who, measure="footprint", measures=size))
        writer.finish()


def test_columns_rows_and_order_are_chosen(call: Any) -> None:
    store("one", slow=1.6, fast=4.0, other=2.0)
    code, out, _ = call("table", "--columns", "size,speedup", "--rows", "*o*", "--sort", "-speedup", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [(line["compressor"], line["speedup"]) for line in lines] == [("slow", "1.6"), ("other", "2.0")]
    assert list(lines[0]).index("size") < list(lines[0]).index("speedup")
    _, out, _ = call("table", "--rows", "fast", "--rows", "slow-m-cpu", "--sort", "speedup", "--format", "json")
    assert [row["compressor"] for row in json.loads(out)["rows"]] == ["fast", "slow"]


@pytest.mark.parametrize(
    ("format", "there"),
    [
        ("terminal", "4.00 [3.92, 4.08] (≥ 1.50) ✓"),
        ("markdown", "| **4.00** [3.92, 4.08] (≥ 1.50) ✓ |"),
        ("latex", r"\textbf{4.00} {\scriptsize {[}3.92, 4.08{]}}"),
        ("csv", "4.0,3.92,4.08,1.5,pass,true"),
        ("json", '"value": 4.0'),
    ],
)
def test_two_machines_in_every_format(call: Any, format: str, there: str) -> None:
    store("one", fast=4.0, slow=1.6)
    store("two", machine="Xeon", fast=1.7, slow=3.0)
    code, out, _ = call("table", "one", "two", "--format", format, "--columns", "speedup")
    assert code == 0
    assert there in out and "EPYC" in out and "Xeon" in out


def test_runs_of_one_machine_are_joined(call: Any) -> None:
    store("one", started="2026-11-20T10:00:00+00:00", fast=4.0, slow=1.6)
    store("two", started="2026-11-21T10:00:00+00:00", fast=3.0)
    _, out, _ = call("table", "two", "one", "--columns", "speedup")
    assert "3.00 [2.94, 3.06]" in out and "1.60 [1.57, 1.63]" in out and "4.00" not in out
    assert "2 runs of one machine, the newest record of each case counts" in " ".join(out.split())


@pytest.mark.parametrize("what", [(), ("compressors",), ("models",), ("hardware",)])
def test_every_list_refuses_an_unknown_tier(call: Any, what: tuple[str, ...]) -> None:
    code, out, err = call("list", *what, "--tier", "nigthly")
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert err == "pressbench: unknown tier 'nigthly'; did you mean nightly?\n"


def test_a_table_for_a_paper_needs_one_command(call: Any) -> None:
    store("one", fast=4.0, slow=1.6)
    code, out, _ = call("table", "--format", "latex")
    assert code == 0
    assert out.splitlines()[1] == r"\begin{table*}[tbp]" and out.splitlines()[-1] == r"\end{table*}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("table", "--columns", "sped"), "no column 'sped'; nearest: speedup"),
        (("table", "--rows", "fats"), "no compressor or case 'fats'; nearest: fast"),
        (("table", "--hardware", "cpu-vni"), "no hardware 'cpu-vni'; nearest: cpu-vnni"),
        (("table", "--group", "familly"), "no group 'familly'; nearest: family"),
        (("table", "--sort", "-sise"), "no column 'sise'; nearest: size"),
        (("table", "one", "tow"), "no run 'tow'"),
        (("compare", "one", "two", "--columns", "chnge"), "no column 'chnge'; nearest: change"),
        (("compare", "one", "two", "--rows", "fats"), "no compressor or case 'fats'; nearest: fast"),
        (("compare", "one", "two", "--sort", "verdct"), "no column 'verdct'; nearest: verdict"),
        (("compare", "one", "two", "--group", "hardwar"), "no group 'hardwar'; nearest: hardware"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_names(call: Any, arguments: tuple[str, ...], told: str) -> None:
    store("one", fast=4.0)
    store("two", fast=4.0)
    code, out, err = call(*arguments)
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert told in err and err.count("\n") == 1


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex"])
def test_compare_shows_units_intervals_bounds_and_pairs(call: Any, format: str) -> None:
    store("one", fast=4.0, slow=1.6, gone=2.0)
    store("two", fast=2.0, slow=1.61, came=3.0)
    code, out, _ = call("compare", "two", "one", "--format", format)
    assert code == 1
    plain = out.replace(r"$\times$", "×").replace(r"$-$", "−").replace(r"$\geq$", "≥").replace(r"\%", "%")
    plain = plain.replace("{[}", "[").replace("{]}", "]").replace(r"{\tiny ", "").replace("}", "")
    for text in (
        "regression",
        "4.00× [3.92, 4.08]",
        "2.00× [1.96, 2.04]",
        "−50.0 %",
        "≥ 1.50×",
        "24",
        "+100.0 %",
        "vanished",
    ):
        assert text in plain, text


def test_compare_alone_takes_the_latest_run_and_the_one_before_it_on_its_machine(call: Any) -> None:
    store("20261120T100000Z-aaaa", fast=4.0)
    store("20261121T100000Z-bbbb", machine="Xeon", fast=1.0)
    code, _, err = call("compare")
    assert (code, err) == (12, "pressbench: not compared: 20261121T100000Z-bbbb is the first run of this machine\n")
    store("20261122T100000Z-cccc", fast=4.01)
    code, out, err = call("compare", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["run"], found["against"]) == ("20261122T100000Z-cccc", "20261120T100000Z-aaaa")
    assert "20261122T100000Z-cccc, the latest run, against 20261120T100000Z-aaaa" in err and err.count("\n") == 1


def test_runs_are_compared_by_parts_of_their_ids(call: Any) -> None:
    store("20261120T100000Z-aaaa", fast=4.0)
    store("20261122T100000Z-cccc", fast=4.01)
    _, out, _ = call("compare", "cccc", "20261120", "--json")
    assert json.loads(out)["against"] == "20261120T100000Z-aaaa"


def test_compare_is_chosen_grouped_and_sorted(call: Any) -> None:
    store("one", fast=4.0, slow=1.6, gone=2.0)
    store("two", fast=2.0, slow=1.61, came=3.0)
    _, out, _ = call(
        "compare", "two", "one", "--format", "csv", "--rows", "*o*", "--sort", "-change", "--group", "family"
    )
    lines = list(csv.DictReader(io.StringIO(out)))
    assert {(line["group"], line["case"], line["outcome"]) for line in lines} >= {("s", "slow-m-cpu", "unchanged")}
    assert "fast-m-cpu" not in {line["case"] for line in lines} and "gone-m-cpu" in {line["case"] for line in lines}
    _, out, _ = call("compare", "two", "one", "--format", "csv", "--columns", "case,change,now", "--sort", "change")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert list(lines[0]) == ["case", "change", "now", "now_low", "now_high"]
    assert float(lines[0]["change"]) == -0.5
    _, out, _ = call("compare", "two", "one", "--format", "json", "--rows", "fast")
    assert {case["case"] for case in json.loads(out)["cases"]} == {"fast-m-cpu"}
