"""What a declared model was made from, wherever a run is shown; nothing of it where a header does not say."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, terminal, write

from results.exchange.github import step_summary
from results.store.declared import declared
from results.store.record import Measure, RunHeader
from results.store.store import Run
from results.table.choice import ALL, Choice
from results.table.export import to_json, to_markdown
from results.table.grid import grid
from results.table.grid_text import grid_markdown
from results.table.latex import grid_latex

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
OWN: dict[str, Any] = {
    "where": "[minilm] of zoo.toml", "model": "./checkpoint", "architecture": "BertForSequenceClassification",
    "data": "reviews.csv", "task": "text-classification", "columns": {"text": "review", "label": "stars"},
    "labels": ["bad", "good"], "rows": {"reviews.csv": 8000}, "split": "1,000 of 8,000 rows for testing",
    "training_examples": 7000, "test_examples": 1000, "settings": {"tokens": 128},
    "notes": ["2 exact copies were left out"], "published": [],
}  # fmt: skip
HUB: dict[str, Any] = OWN | {
    "model": "org/minilm", "data": "org/reviews@v2",
    "hub": {
        "model": {"name": "org/minilm", "revision": "main", "commit": COMMIT, "note": "hub out of reach"},
        "data": {"name": "org/reviews", "revision": "v2", "commit": "b" * 40,
                 "files": {"train": ["data/train-0.parquet", "data/train-1.parquet"], "test": ["data/test.parquet"]}},
    },
}  # fmt: skip
LINE = "model org/minilm at commit 27dcfa74d334…, data org/reviews at commit bbbbbbbbbbbb…"


def run_of(folder: Path, models: Any) -> Run:
    run = write(folder, [case("int8", measures={"accuracy": Measure(value=0.9)})])
    return replace(run, header=replace(run.header, extra={"models": models}))


def test_one_line_stands_under_the_heading_of_its_table(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"minilm": HUB})
    assert f"{LINE}\n" in terminal(run, 120) and f"{LINE}\n" in terminal(run, 90)
    assert f"\n{LINE}\n" in to_markdown(run) and f"\n{LINE}\n" in step_summary(run)
    assert f"\n{LINE}\n" in grid_markdown(grid([run], Choice(columns=("accuracy",))))
    assert "Model org/minilm at commit 27dcfa74d334" in grid_latex(grid([run], ALL))
    own = run_of(tmp_path / "own", {"minilm": OWN})
    assert "\nmodel ./checkpoint, data reviews.csv\n" in to_markdown(own)


def test_machines_that_had_other_data_are_told_apart(tmp_path: Path) -> None:
    first, second = run_of(tmp_path / "a", {"minilm": HUB}), run_of(tmp_path / "b", {"minilm": OWN})
    second = replace(second, header=replace(second.header, machine={"name": "Another"}))
    shown = grid_markdown(grid([first, second], Choice(columns=("accuracy",))))
    assert f"Intel Xeon Platinum 8488C: {LINE}" in shown and "Another: model ./checkpoint, data reviews.csv" in shown


def test_all_of_it_is_told_as_facts(tmp_path: Path) -> None:
    (found,) = declared(run_of(tmp_path, {"minilm": HUB}).header).values()
    assert dict(found.facts) == {
        "model": f"org/minilm at commit {COMMIT}",
        "architecture": "BertForSequenceClassification",
        "data": f"org/reviews (revision v2) at commit {'b' * 40}",
        "files of the data": "train: data/train-0.parquet, data/train-1.parquet; test: data/test.parquet",
        "rows": "8,000 in reviews.csv",
        "columns": "text is 'review', label is 'stars'",
        "labels": "bad, good",
        "split": "1,000 tested on, 7,000 to train and calibrate with; 1,000 of 8,000 rows for testing",
        "tokens": "128",
        "declared in": "[minilm] of zoo.toml",
    }
    assert found.notes == ("2 exact copies were left out", "hub out of reach")
    labels = [str(i) for i in range(1000)]
    (found,) = declared(run_of(tmp_path / "many", {"minilm": OWN | {"labels": labels}}).header).values()
    assert dict(found.facts)["labels"].endswith("10, 11, and 988 more")


def test_the_summary_lists_the_models(tmp_path: Path) -> None:
    text = step_summary(run_of(tmp_path, {"minilm": HUB})).replace("&#x27;", "'")
    item = text.partition("### Declared models\n\n")[2].splitlines()[0]
    assert item.startswith(f"- <code>minilm</code>: model: org/minilm at commit {COMMIT}; ")
    assert "data/test.parquet" in item and item.endswith("note: hub out of reach")


def test_json_has_what_was_recorded(tmp_path: Path) -> None:
    assert json.loads(to_json(run_of(tmp_path, {"minilm": HUB})))["models"] == {"minilm": HUB}
    assert json.loads(to_json(run_of(tmp_path / "none", None)))["models"] == {}


ODD = [None, 3, "x", True, [], {}, ["x"], {"x": None}, 10**400, float("nan")]


@pytest.mark.parametrize("key", [*HUB, "model of hub", "data of hub", "commit", "files"])
@pytest.mark.parametrize("odd", range(len(ODD)))
def test_what_is_of_another_form_is_left_out(tmp_path: Path, key: str, odd: int) -> None:
    value = ODD[odd]
    changed = HUB | {
        "model of hub": {"hub": HUB["hub"] | {"model": value}},
        "data of hub": {"hub": HUB["hub"] | {"data": value}},
        "commit": {"hub": {"model": {"name": "org/minilm", "commit": value}}},
        "files": {"hub": {"data": {"name": "org/reviews", "commit": COMMIT, "files": value}}},
    }.get(key, {key: value})
    header = RunHeader(run="x", started="", extra={"models": {"minilm": changed}})
    (found,) = declared(header).values()
    assert all(isinstance(text, str) and text for fact in found.facts for text in fact)
    assert all(isinstance(note, str) and note for note in found.notes)


@pytest.mark.parametrize("models", ODD)
def test_a_header_without_models_says_nothing_of_them(tmp_path: Path, models: Any) -> None:
    run = run_of(tmp_path, models)
    plain = replace(run, header=replace(run.header, extra={}))
    for draw in (terminal, to_markdown, step_summary):
        assert draw(run) == draw(plain)


def test_the_page_has_a_section(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="needs the extra 'report'")
    from results.report.page import render

    page = render(run_of(tmp_path, {"minilm": HUB}))
    section = page.partition('<h2 id="models">')[2].partition("</section>")[0]
    for text in (f"org/minilm at commit {COMMIT}", "data/test.parquet", "8,000 in reviews.csv", "hub out of reach"):
        assert text in section
    assert LINE in page and '<a href="#models">' in page
    page = render(run_of(tmp_path / "none", {}))
    assert 'id="models"' not in page and '"#models"' not in page
