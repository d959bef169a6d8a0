"""Headings say what stands under them: accuracy, perplexity or a score, and of what is mixed only what is true."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, terminal, three, write

from results.exchange.github import step_summary
from results.store.quality import MIXED, words_of
from results.store.record import CaseRecord, Measure
from results.table.choice import ALL, Choice
from results.table.export import to_csv, to_markdown
from results.table.grid import grid
from results.table.latex import grid_latex

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def perplexity(name: str = "int8", **changes: object) -> CaseRecord:
    measures = {"perplexity": Measure(value=30.0), "perplexity_rise": Measure(value=0.02, bound=0.1, verdict="pass")}
    return case(name, measures=measures, **changes)


def score(name: str = "int8", metric: str = "chrf", **changes: object) -> CaseRecord:
    measures = {"score": Measure(value=0.4), "score_drop": Measure(value=0.01)}
    return case(name, measures=measures, evidence={"metric": metric}, **changes)


def accuracy(name: str = "int8", **changes: object) -> CaseRecord:
    return case(name, measures={"accuracy": Measure(value=0.9), "accuracy_drop": Measure(value=0.01)}, **changes)


FAILED = case("int4", verdict="error", reason="died")
KINDS = {
    "accuracy": ([accuracy()], "accuracy", "drop, pts (+ = loss)", "drop, points (+ is loss)"),
    "perplexity": ([perplexity()], "perplexity", "rise, % (+ = loss)", "rise, % (+ is loss)"),
    "with an error": ([perplexity(), FAILED], "perplexity", "rise, % (+ = loss)", "rise, % (+ is loss)"),
    "chrF": ([score()], "chrF", "drop, pts (+ = loss)", "drop, points (+ is loss)"),
    "ROUGE-L": ([score(metric="rougeL")], "ROUGE-L", "drop, pts (+ = loss)", "drop, points (+ is loss)"),
    "two scores": (
        [score(), score("int4", "rougeL")], "score", "drop, pts (+ = loss)", "drop, points (+ is loss)",
    ),
    "mixed": (
        [accuracy(), perplexity("int4")], "quality", "loss, pts or % (+ = loss)", "loss, points or % (+ is loss)",
    ),
    "nothing": ([FAILED], "accuracy", None, "drop, points (+ is loss)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_headings_of_tables(tmp_path: Path, kind: str) -> None:
    records, value, short, long = KINDS[kind]
    run = write(tmp_path, records)
    others = {"accuracy", "perplexity", "chrF", "quality"} - {value}
    for width in (80, 120, 160):
        shown = terminal(run, width).partition("──")[0].partition("test examples")[0]
        assert f" {value} " in shown and (short is None or short in shown)
        assert not any(f" {other} " in shown for other in others)
    assert short is None or f"{value}: " in terminal(run, 24)
    assert f"| compressor | role | {value} |" in to_markdown(run) and f"| {value} verdict |" in to_markdown(run)
    assert f"| compressor | {value} | {long} |" in step_summary(run)
    assert f"| {value}, speed, size |" in step_summary(run)


def test_one_run_has_a_heading_for_each_of_its_tables(tmp_path: Path) -> None:
    run = write(tmp_path, [accuracy(), perplexity(model="gpt"), score(model="opus")])
    for shown in (terminal(run, 120), to_markdown(run), step_summary(run)):
        assert all(f" {name} " in shown for name in ("accuracy", "perplexity", "chrF"))


def test_columns_that_nobody_chose_fit_what_is_there(tmp_path: Path) -> None:
    def heads(*records: CaseRecord) -> list[str]:
        run = write(tmp_path / str(len(list(tmp_path.iterdir()))), list(records))
        return [head.name for head in grid([run], ALL).heads][1:]

    assert heads(accuracy()) == ["accuracy", "drop"]
    assert heads(perplexity()) == ["perplexity", "rise"]
    assert heads(score()) == ["score", "score-drop"]
    assert heads(accuracy(), perplexity(model="gpt")) == ["accuracy", "perplexity", "drop", "rise"]
    assert heads(FAILED) == ["drop"]
    assert "30.00" in grid_latex(grid([write(tmp_path / "latex", [perplexity()])], ALL))


def test_a_verdict_stands_beside_the_loss_that_it_is_about(tmp_path: Path) -> None:
    failed = case("int4", model="gpt", verdict="error", reason="died")
    run = write(tmp_path, [accuracy(), perplexity(model="gpt"), failed])
    drawn = grid([run], Choice())
    names = [head.name for head in drawn.heads]
    spoken = [
        [names[place] for place, cell in enumerate(line) if cell.verdict] for b in drawn.blocks for line in b.lines
    ]
    assert spoken == [["drop"], ["rise"], ["rise"]]


def test_columns_for_programs_are_always_the_same(tmp_path: Path) -> None:
    names = [next(csv.reader(io.StringIO(to_csv(write(tmp_path / str(i), [record])))))
             for i, record in enumerate((accuracy(), perplexity(), score()))]  # fmt: skip
    assert names[0] == names[1] == names[2] and "accuracy_drop" in names[0]


def test_neutral_words_are_told_apart() -> None:
    assert words_of([accuracy(), score()]) is MIXED and words_of([]).value == "accuracy"
    first = three("x", (0.9, 0.01, 0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3)[0]
    assert words_of([first]).lost() == "drop, points"


def test_the_page_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="needs the extra 'report'")
    from results.report.page import render

    size = case("int8", "footprint", measures={"size_ratio": Measure(value=0.3)})
    page = render(write(tmp_path / "a", [perplexity(), size]))
    assert (
        '<th scope="col">perplexity</th>' in page
        and "rise against dense, %" in page
        and "rise, % (+ is a loss)" in page
    )
    assert '<option value="accuracy">' not in page and '<th scope="col">accuracy</th>' not in page
    assert '"perplexity, speed, size"' in page
    page = render(write(tmp_path / "b", [accuracy(), size]))
    assert '<th scope="col">accuracy</th>' in page and "drop against dense, points" in page
    assert '<option value="accuracy">' in page
    page = render(write(tmp_path / "c", [accuracy(), perplexity(model="gpt"), size]))
    assert "lost against dense, points or %" in page and '<th scope="col">perplexity</th>' in page
