"""Numbers from the literature beside what was measured: seen as such, judged by nothing, whatever a header holds."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import CONTROL, case, terminal, three, write

from results.exchange.github import step_summary
from results.store.declared import declared
from results.store.quality import ACCURACY, SCORE
from results.store.record import CaseRecord, Measure
from results.store.store import Run, read_run
from results.table.choice import ALL, Choice, sections_of, summary_of
from results.table.export import to_csv, to_json, to_markdown
from results.table.grid import Grid, grid
from results.table.grid_data import grid_csv, grid_json
from results.table.grid_text import grid_markdown
from results.table.latex import grid_latex
from results.table.table import FORMATS, render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
PUBLISHED = [
    {"method": "8 bits, by hand", "value": 0.9691, "source": "Doe 2023"},
    {"method": "half of the weights", "value": 0.99, "source": "Roe 2024"},
]
NAME = "8 bits, by hand (published: Doe 2023)"
HOSTILE = [
    "<script>alert(1)</script>", "[red]x[/red]", "\x1b[31mred\x07", "\u202eevil", "two\r\nlines", "a|b", "=cmd()",
    "\\input{x} $1^2_3 #% & ~", "![x](http://a.example)", "\ud800lone",
]  # fmt: skip


def declaring(folder: Path, cases: list[CaseRecord], models: Any) -> Run:
    """A run whose header has `models`, read back."""
    run = write(folder, cases)
    first, *rest = run.path.read_text().splitlines()
    run.path.write_text("\n".join([json.dumps(json.loads(first) | {"models": models}), *rest]) + "\n")
    return read_run(run.path)


def model(**changes: Any) -> dict[str, Any]:
    return {"minilm": {"model": "org/minilm", "task": "text-classification", "published": PUBLISHED} | changes}


def cases() -> list[CaseRecord]:
    return [
        *three("openvino-fp32", (0.971, 0.0, 0.0, 0.0), (1.85, 1.8, 1.9, 1.0), 1.0, **CONTROL),
        *three("int8", (0.968, 0.003, -0.002, 0.009), (2.61, 2.55, 2.70, 1.41), 0.254, family="quantization"),
        *three("int4", (0.9, 0.07, 0.05, 0.09), (2.0, 1.9, 2.1, 1.1), 0.2, family="quantization"),
    ]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return declaring(tmp_path, cases(), model())


def names(run: Run, choice: Choice = ALL) -> list[str]:
    return [row.label for section in sections_of(run, choice) for row in section.rows]


def every_table(run: Run) -> dict[str, str]:
    """The run in each way that a table is written."""
    drawn: Grid = grid([run], Choice(columns=("accuracy", "speedup", "role")))
    return {
        **{f"terminal {width}": terminal(run, width) for width in (60, 80, 120, 200)},
        **{name: render(run, name) for name in FORMATS if name != "terminal"},
        "summary": step_summary(run),
        "grid markdown": grid_markdown(drawn),
        "grid csv": grid_csv(drawn),
        "grid json": grid_json(drawn),
        "grid latex": grid_latex(drawn),
    }


def test_they_stand_below_the_methods_with_the_quality_alone(run: Run) -> None:
    assert names(run) == [
        "openvino-fp32", "int8", "int4", NAME, "half of the weights (published: Roe 2024)"
    ]  # fmt: skip
    for shown in (terminal(run, 80), terminal(run, 120), terminal(run, 160)):
        rows = shown[shown.index("8 bits, by hand") : shown.index("half of")]
        assert "96.9 %" in rows
        assert not any(sign in rows for sign in ("✓", "✗", "?", "×", "≤", "MiB"))
    (row,) = (line for line in to_markdown(run).splitlines() if NAME in line)
    assert row == f"| {NAME} | – | published | 96.9 % |{' – |' * 10}"
    (row,) = (line for line in step_summary(run).splitlines() if NAME in line)
    assert row.replace("&nbsp;", " ") == f"| {NAME} | 96.9 % | – | – | – | – | – | – – – |"


def test_they_count_nowhere_and_are_never_best(run: Run) -> None:
    (section,) = sections_of(run, ALL)
    what = summary_of(run, [section])
    assert (what.executed, sum(what.counts.values()), what.notes) == (9, 9, ())
    lines = list(csv.DictReader(io.StringIO(to_csv(run))))
    assert [line["accuracy_best"] for line in lines] == ["false", "true", "false", "false", "false"]
    assert "\\textbf{99.0}" not in grid_latex(grid([run], ALL))
    assert "rows are shown" not in grid_markdown(grid([run], ALL))


def test_programs_know_them_by_their_role(run: Run) -> None:
    lines = [line for line in csv.DictReader(io.StringIO(to_csv(run))) if line["role"] == "published"]
    assert [(line["compressor"], line["accuracy"], line["settings"]) for line in lines] == [
        ("8 bits, by hand", "0.9691", '{"source": "Doe 2023"}'),
        ("half of the weights", "0.99", '{"source": "Roe 2024"}'),
    ]
    filled = {name for name in lines[0] if lines[0][name]}
    shared = {"run", "started", "run_state", "model", "task", "hardware", "hardware_class", "compressor", "role"}
    assert {name for name in filled if not name.endswith("_best")} == shared | {"settings", "accuracy"}
    row = json.loads(to_json(run))["rows"][-1]
    assert (row["compressor"], row["role"], row["parameters"]) == (
        "half of the weights", "published", {"source": "Roe 2024"}
    )  # fmt: skip
    assert set(row["verdicts"].values()) == {None}
    assert row["measures"]["accuracy"] == {
        "value": 0.99, "low": None, "high": None, "bound": None, "verdict": None, "reason": "", "best": False,
    }  # fmt: skip
    row = json.loads(grid_json(grid([run], Choice(columns=("accuracy", "run")))))["rows"][-1]
    assert (row["role"], row["cases"], row["machines"][0]["run"]) == ("published", [], None)
    assert row["machines"][0]["accuracy"] == {
        "value": 0.99, "low": None, "high": None, "bound": None, "verdict": None, "best": False,
    }  # fmt: skip


def test_they_are_chosen_sorted_and_grouped_like_rows(run: Run) -> None:
    assert names(run, Choice(rows=("int8",))) == ["int8"]
    assert names(run, Choice(rows=("8 bits*",))) == [NAME]
    for by in ("accuracy", "-accuracy"):
        assert names(run, Choice(sort=by))[-2:] == names(run)[-2:]
    parts = [section.part for section in sections_of(run, Choice(group="family"))]
    assert parts == ["dense and controls", "quantization", "published"]
    left = summary_of(run, sections_of(run, Choice(rows=("int8",)))).notes
    assert left == ("1 of 3 rows are shown, and what went wrong in them",)


def test_where_no_quality_was_measured_there_is_nothing_to_stand_beside(tmp_path: Path) -> None:
    speed = [record for record in cases() if record.measure != "accuracy"]
    assert names(declaring(tmp_path, speed, model())) == ["openvino-fp32", "int8", "int4"]


def test_each_stands_on_the_machines_that_declared_it(tmp_path: Path, run: Run) -> None:
    other = declaring(tmp_path / "other", cases(), {})
    other = replace(other, header=replace(other.header, machine={"name": "Another"}))
    both = grid([run, other], Choice(columns=("accuracy",)))
    first, second = both.blocks[0].lines[-1][1:]
    assert (first.text, second.text) == ("99.0", "–")


def test_perplexities_and_scores_are_shown_as_such(tmp_path: Path) -> None:
    told = {"method": "GPTQ", "value": 31.12, "source": "Doe"}
    perplexity = case("int8", measures={"perplexity": Measure(value=30.0)})
    run = declaring(tmp_path / "a", [perplexity], model(task="causal-lm", published=[told]))
    assert "31.12 ppl" in to_markdown(run)
    failed = case("int8", verdict="error", reason="died")
    run = declaring(tmp_path / "b", [failed], model(task="causal-lm", published=[told]))
    assert "31.12 ppl" in to_markdown(run)  # by the task, since no record says how it is told
    told = {"method": "beam search", "value": 0.412, "source": "Doe"}
    score = case("int8", measures={"score": Measure(value=0.4)}, evidence={"metric": "chrf"})
    run = declaring(tmp_path / "c", [score], model(task="translation", published=[told]))
    assert "| chrF 41.2 |" in to_markdown(run)


@pytest.mark.parametrize(
    "models",
    [
        None, 3, "x", [], [{}], {"minilm": None}, {"minilm": 3}, {"minilm": []}, {"other": {"published": PUBLISHED}},
        model(published=None), model(published=3), model(published={"a": 1}), model(published=["x", 3, None, {}]),
        model(task=[], settings=3, published=[{"method": "x", "value": "0.5", "source": "y"}]),
        model(published=[{"method": ["x"], "value": 1, "source": "y"}, {"method": "x", "value": True, "source": "y"}]),
        model(published=[{"method": "x", "value": 10**400, "source": "y"}, {"method": "x", "source": "y"}]),
        model(published=[{"method": "x", "value": None, "source": "y"}, {"method": "", "value": 1, "source": "y"}]),
    ],
)  # fmt: skip
def test_a_header_of_another_form_is_one_without_them(tmp_path: Path, models: Any) -> None:
    run = declaring(tmp_path, cases(), models)
    assert names(run) == ["openvino-fp32", "int8", "int4"]
    assert all(every_table(run).values())


def test_names_that_mean_something_elsewhere_are_text(tmp_path: Path) -> None:
    listed = [{"method": text, "value": 0.5, "source": text} for text in HOSTILE]
    run = declaring(tmp_path, cases(), model(published=listed))
    for name, shown in every_table(run).items():
        assert all(character == "\n" or character.isprintable() for character in shown), name
        shown.encode()
    markdown = to_markdown(run) + step_summary(run) + every_table(run)["grid markdown"]
    assert "<script" not in markdown and "](" not in markdown.replace("\\]", "")
    assert "\\\\input" not in render(run, "latex") and r"\textbackslash{}input\{x\} \$1" in render(run, "latex")
    cells = [cell for row in csv.reader(io.StringIO(to_csv(run))) for cell in row]
    assert "'=cmd()" in cells and "=cmd()" not in cells
    kept = [row["compressor"] for row in json.loads(to_json(run))["rows"] if row["role"] == "published"]
    assert kept == HOSTILE


def test_a_name_without_an_end_is_cut(tmp_path: Path) -> None:
    run = declaring(tmp_path, cases(), model(published=[{"method": "m" * 9999, "value": 0.5, "source": "s" * 9999}]))
    assert len(names(run)[-1]) == 120 + 120 + len(" (published: )")


def test_how_a_task_is_told() -> None:
    from results.store.quality import of_task

    assert of_task("translation") is SCORE and of_task("anything") is ACCURACY


def test_a_header_says_what_was_declared(run: Run) -> None:
    (found,) = declared(run.header).values()
    assert [(one.method, one.value, one.source) for one in found.published] == [tuple(p.values()) for p in PUBLISHED]
