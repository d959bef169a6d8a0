"""Generated text wherever a record is shown: as `chrF 41.2`, its drop in points, and the texts that changed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import CONTROL, RUN, case, terminal, three, write

from pressbench.accept import _acceptance
from results.exchange.card import card
from results.exchange.github import step_summary
from results.history import baseline_file
from results.history.acceptance import propose
from results.report.changes import changes
from results.report.flips import flips
from results.report.trends import charts
from results.report.trends import history as trend
from results.store.quality import ACCURACY, SCORE, metric_of, quality_of
from results.store.query import history
from results.store.record import MEASURE_NAMES, CaseRecord, Measure
from results.table.best import best_measures
from results.table.cells import cells
from results.table.choice import ALL, sections_of
from results.table.columns import column
from results.table.export import to_csv, to_json, to_markdown
from results.table.grid import grid
from results.table.grid_text import grid_markdown
from results.table.rows import Row

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
TEXTS = {
    "row": 3, "kind": "lost", "label": "ein Haus", "dense": "ein Haus", "compressed": "ein ein ein", "text": "a house",
}  # fmt: skip
FLIPPED = {"total": 3, "lost": 2, "gained": 1, "examples": [TEXTS]}


def scored(
    compressor: str, value: float, drop: float, wide: float = 0.004, metric: Any = "chrf", **changes: Any
) -> list[CaseRecord]:
    """Accuracy, speed and footprint of a model that writes texts."""
    first, *rest = three(compressor, (0, 0, 0, 0), (2.0, 1.9, 2.1, 1.2), 0.3, artifact="ab" * 32, **changes)
    measures = {
        "score": Measure(value=value, low=value - 0.01, high=value + 0.01),
        "score_drop": Measure(value=drop, low=drop - wide, high=drop + wide, bound=0.02, verdict=first.verdict),
    }
    evidence = {
        "metric": metric, "examples": 4, "chrf": [0.1, 0.2 + 0.1, 0.7, 1.0], "characters": [12, 7, 3, 9],
        "minimum_detectable_drop": 0.006, "task_type": "translation", "flipped": FLIPPED,
    }  # fmt: skip
    return [replace(first, measures=measures, evidence=evidence), *rest]


def night() -> list[CaseRecord]:
    dense = case(
        "dense", role="dense", verdict="measured", evidence={"metric": "chrf"},
        measures={"score": Measure(value=0.42, low=0.41, high=0.43)},
    )  # fmt: skip
    control = scored("openvino-fp32", 0.42, 0.0, **CONTROL)
    return [dense, *control, *scored("int8", 0.412, 0.008), *scored("int4", 0.3, 0.12)]


def rows(records: list[CaseRecord], folder: Path) -> list[Row]:
    (section,) = sections_of(write(folder, records), ALL)
    return [row for row in section.rows if row is not None]


def test_the_metric_is_named_where_it_is_known() -> None:
    found = {metric: metric_of(scored("x", 0.4, 0.0, metric=metric)[0]) for metric in ("chrf", "rougeL", "<b>")}
    assert found == {"chrf": "chrF", "rougeL": "ROUGE-L", "<b>": "score"}
    assert metric_of(None) == metric_of(scored("x", 0.4, 0.0, metric=["chrf"])[0]) == "score"
    assert quality_of(scored("x", 0.4, 0.0)[0]) is SCORE and quality_of(case("x")) is ACCURACY
    assert SCORE.points


def test_a_table_shows_the_score_with_its_name_and_the_drop_in_points(tmp_path: Path) -> None:
    row = next(row for row in rows(night(), tmp_path / "a") if row.label == "int8")
    cell = cells(row)
    assert cell.accuracy == "chrF 41.2 [40.2, 42.2]"
    assert (cell.drop, cell.bounds["accuracy"]) == ("+0.8 [+0.4, +1.2]", "≤ +2.0")
    run = write(tmp_path / "b", night())
    for shown in (terminal(run, 160), to_markdown(run), step_summary(run)):
        text = shown.replace("\\", "").replace("**", "").replace("&nbsp;", " ")
        assert "chrF 41.2 [40.2, 42.2]" in text and "+0.8 [+0.4, +1.2]" in text
    assert "0.412" in to_csv(run) and '"score": {' in to_json(run)
    alone = next(row for row in rows([case("int8", measures={"score": Measure()})], tmp_path / "c"))
    assert cells(alone).accuracy == "–"


def test_a_column_can_be_asked_for_and_the_best_are_marked(tmp_path: Path) -> None:
    for name, of in (("score", "score"), ("score-drop", "score_drop"), ("score_drop", "score_drop"), ("f1", "f1")):
        assert column(name).measure == of and column(name).judged == "accuracy"
    found = rows(night(), tmp_path)
    marks = dict(zip((row.label for row in found), best_measures(found), strict=True))
    assert {"accuracy", "accuracy_drop"} <= marks["int8"] and "accuracy" not in marks["int4"]


def test_a_card_quotes_the_score_by_the_hubs_name(tmp_path: Path) -> None:
    text = card(write(tmp_path, night()), "int8-minilm-bbc-cpu")
    found = {result.metric_type: result for result in ModelCard(text).data.eval_results or []}
    assert (found["chrf"].metric_value, found["score_drop"].metric_value) == (0.412, 0.008)
    assert found["chrf"].metric_name == "chrF (95 % interval 0.402 to 0.422)" and "accuracy" not in found
    plain = text.replace("\\", "")
    assert "| chrF on 4 test examples [95 %] | chrF 41.2 [40.2, 42.2] | chrF 42.0 [41.0, 43.0] |" in plain
    assert "| points lost [90 %], + is a loss | +0.8 [+0.4, +1.2] |" in plain
    assert "less than 0.6 points could not have been told from none" in plain


def test_history_and_trends_follow_the_score(tmp_path: Path) -> None:
    runs = []
    for name, value in (("20261121T221530Z-3f2a", 0.42), ("20261122T221530Z-3f2b", 0.40)):
        run = write(tmp_path / name, scored("int8", value, 0.0)[:1])
        runs.append(replace(run, header=replace(run.header, run=name)))
    (series,) = history(tmp_path / RUN, "int8-minilm-bbc-cpu", "accuracy")
    assert (series.name, series.values) == ("score", [0.42])
    ((caption, chart),) = charts(trend(runs, None), "accuracy", "int8-minilm-bbc-cpu")
    assert caption.startswith("score, points: 2 runs") and chart.spec == "trend:score"


def test_a_change_is_told_in_points(tmp_path: Path) -> None:
    first, *_ = scored("int8", 0.40, 0.02)
    told = {"outcome": "regression", "before": 0.42, "now": 0.40, "reason": "lost"}
    found = changes(write(tmp_path, [replace(first, comparison=told)]), None)
    assert found.groups[0].changes[0].numbers == "chrF 42.0 → 40.0"


def test_a_baseline_keeps_the_score_of_each_text(tmp_path: Path) -> None:
    run = write(tmp_path / "runs", scored("int8", 0.412, 0.008)[:1])
    run = replace(run, header=replace(run.header, machine={"hash": "ab" * 32, "key": {}}))
    kept, lines, _ = propose(run, None, (), when="", reason="")
    (one,) = baseline_file.read(baseline_file.save(kept, tmp_path / "accepted")).cases.values()
    assert one.losses == {"chrf": pytest.approx((0.1, 0.3, 0.7, 1.0)), "characters": (12, 7, 3, 9)}
    assert one.value("score") == 0.412 and one.value("score_drop") == 0.008 and one.outcomes is None
    assert list(_acceptance(lines, {}).columns[3].cells) == ["0.412"]


def test_texts_that_changed_are_listed_with_what_was_said() -> None:
    found = flips(scored("int8", 0.4, 0.0)[0])
    assert found is not None and (found.examples, found.counts, found.more) == (4, {"lost": 2, "gained": 1}, 2)
    (one,) = found.listed
    assert (one.kind, one.example, one.label, one.compressed, one.text) == (
        "lost", 3, "ein Haus", "ein ein ein", "a house"
    )  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {}, [], "x", {"lost": 1}, {"lost": "1", "gained": 2}, {"lost": -1, "gained": 2},
        {"lost": 1, "gained": 0, "examples": [3, {"row": "3", "kind": "lost"}, {"row": 3, "kind": ["lost"]},
                                              {"row": 3, "kind": "lost", "label": 3}]},
    ],
)  # fmt: skip
def test_flips_of_another_form_are_none(odd: Any) -> None:
    record = scored("int8", 0.4, 0.0)[0]
    found = flips(replace(record, evidence={**record.evidence, "flipped": odd}))
    assert found is None or found.listed == []


def test_every_number_that_a_method_is_asked_for_has_a_column():
    named = {name for names in MEASURE_NAMES.values() for name in names}
    assert {column(name).measure for name in named} == named


def test_numbers_of_other_tokens_and_of_several_labels_are_shown_where_they_are_asked_for(tmp_path):
    more = {"bits_per_byte": Measure(value=0.8612), "micro_f1": Measure(value=0.75), "macro_f1": Measure(value=0.5)}
    one = case("student", measures=more)
    run = write(tmp_path, [one])
    shown = grid_markdown(grid([run], replace(ALL, columns=("bits-per-byte", "micro-f1", "macro-f1"))))
    assert "| 0.861 ✓ | 0.750 | 0.500 |" in shown
