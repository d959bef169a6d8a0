"""Names, reasons and notes that mean something to a terminal, Markdown or a spreadsheet are text in each."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import RUN, case, terminal

from results.store.record import Measure, RunEnd, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import Run, read_run
from results.table.table import FORMATS, render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
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
        writer.write(
            RunEnd(run=RUN, ended="", expected=9, executed=9, counts={}, seconds={"<b>|\x1b": 1}, least={"<b>|\x1b": 1})
        )
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
    assert {line.count("|") for line in table} == {6}  # nothing but an accuracy was recorded
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
