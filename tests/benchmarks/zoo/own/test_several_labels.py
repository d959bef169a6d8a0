"""Labels that do not exclude each other: read from every form that people write them in, decided as transformers'
pipeline decides them, scored as scikit-learn scores them, and refused in one line where they could mean something
else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.measure import stages
from benchmarks.zoo.own.model import OwnModel
from compressors.interface import PressbenchError, no_progress

sys.path.append(str(Path(__file__).parent))
from own_folders import made, tiny_models, understood, write_csv

NAMES = tiny_models.SEVERAL
ROWS = tiny_models.opinions(60)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.labeller(tmp_path_factory.mktemp("models") / "model"))


def listed(form: str) -> list[Any]:
    """The labels of each row in one of the forms of a single column."""
    named = [[name for name, mark in zip(NAMES, marks, strict=True) if mark] for _, marks in ROWS]
    numbers = [[number for number, mark in enumerate(marks) if mark] for _, marks in ROWS]
    return {
        "names": named, "numbers": numbers, "commas": [", ".join(one) for one in named],
        "bars": ["|".join(one) for one in named], "semicolons": [";".join(one).upper() for one in named],
        "json": [json.dumps(one) for one in named],
    }[form]  # fmt: skip


def marks_of(found: OwnModel, folder: Path) -> dict[str, list[int]]:
    from benchmarks.cache import Cache

    rows = found.task.load(Cache(folder / "cache"))
    return {text: marks for split in rows.values() for text, marks in zip(split["text"], split["marks"], strict=True)}


@pytest.mark.parametrize(
    "form", ["columns", "words", "other order", "names", "numbers", "commas", "semicolons", "bars", "json"]
)
def test_every_form_says_the_same(tmp_path: Path, model: str, form: str) -> None:
    data = "rows.csv"
    if form in ("columns", "words", "other order"):
        order = [2, 0, 1] if form == "other order" else [0, 1, 2]
        words = ("false", "True") if form == "words" else (0, 1)
        rows = [[text, *(words[marks[i]] for i in order)] for text, marks in ROWS]
        write_csv(tmp_path / data, ("comment", *(NAMES[i].title() for i in order)), rows)
    elif form in ("names", "numbers"):
        data = "rows.jsonl"
        lines = [{"text": text, "labels": one} for (text, _), one in zip(ROWS, listed(form), strict=True)]
        (tmp_path / data).write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        rows = [[text, one] for (text, _), one in zip(ROWS, listed(form), strict=True)]
        write_csv(tmp_path / data, ("text", "labels"), rows)
    found = understood(tmp_path, model=model, data=data)
    assert found.task.kind == "multi-label-classification" and found.task.labels == NAMES
    assert marks_of(found, tmp_path) == dict(ROWS)
    none = sum(not any(marks) for _, marks in ROWS)
    assert none > 3 and any(f"{none} of 60 rows have none" in note for note in found.understood["notes"])


def test_answers_are_the_pipelines_and_scores_scikit_learns(tmp_path: Path) -> None:
    tiny_models.labeller(tmp_path / "model", steps=100)
    rows = [[text, *marks] for text, marks in tiny_models.opinions(300, seed=5)]
    write_csv(tmp_path / "rows.csv", ("text", *NAMES), rows)
    found = understood(tmp_path, model="model", data="rows.csv")
    dense = made(found, tmp_path)
    state = {"forward": dense.artifact.load()}
    answers = stages.answer(state, found.task.quality, dense.inputs_path, 16, progress=no_progress)
    shown = [row["text"] for row in dense.shown()]
    pipeline = transformers.pipeline("text-classification", str(tmp_path / "model"), device="cpu", top_k=None)
    told = [{one["label"]: one["score"] for one in pipeline(text)[0]} for text in shown]
    said = np.array([[int(one[name] > 0.5) for name in NAMES] for one in told])
    assert said.any(axis=0).all() and (said.sum(axis=1) > 1).any()
    assert (answers["predictions"] == said).all()
    truth = np.array([dict(map(lambda row: (row[0], row[1:]), rows))[text] for text in shown])
    scored = found.task.quality.judge(answers, answers, dense.test(), None)
    assert scored.measures["accuracy"].value == pytest.approx(accuracy_score(truth, said))
    assert 0.2 < accuracy_score(truth, said) < 1
    for kind in ("micro", "macro"):
        assert scored.measures[f"{kind}_f1"].value == pytest.approx(f1_score(truth, said, average=kind))
    assert found.task.quality.nothing_to_lose(answers, dense.test(), NAMES) is None
    training = dense.training()
    assert training.labels is not None and training.labels.shape == (150, 3) and not training.exclusive
    assert training.one_answer


def wrong(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": text, **one} for (text, _), one in zip(ROWS, rows, strict=True)]


def columns(change: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return wrong([dict(zip(NAMES, marks, strict=True)) | change.get(i, {}) for i, (_, marks) in enumerate(ROWS)])


def one_column(change: dict[int, Any], name: str = "labels") -> list[dict[str, Any]]:
    return wrong([{name: change.get(i, one)} for i, one in enumerate(listed("names"))])


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (columns({6: {"blame": 2}}), "line 7: column 'blame' holds 2: a label's column has 0 or 1"),
        (columns({6: {"blame": -1}}), "line 7: column 'blame' holds -1: a label's column has 0 or 1"),
        (columns({6: {"blame": None}}), "line 7: column 'blame' holds nothing: a label's column has 0 or 1"),
        ([{k: v for k, v in row.items() if k != "blame"} for row in columns({})],
         "no column for blame, beside praise, music; wanted are columns of 0 and 1 called praise, blame"),
        (wrong([{"stars": 3}] * 60), "which columns are the labels? It has text, stars; wanted are"),
        (one_column({6: ["praise", "anger"]}), "line 7: unknown label 'anger'"),
        (one_column({6: ["praise", "Praise"]}), "line 7: label 'Praise' stands twice in column 'labels'"),
        (one_column({row: [] for row in range(60)}), "no row has a label in column 'labels'"),
        (wrong([{"labels": marks} for _, marks in ROWS]), "holds a 0 or 1 for each label, no list of them"),
        (wrong([{"label": i % 2} for i in range(60)]), "holds one number a row, such as 0, which may be"),
        (wrong([{"label": "[praise"} for _ in range(60)]), "line 1: column 'label' holds '[praise', no JSON list"),
    ],
)  # fmt: skip
def test_what_could_mean_something_else_is_refused(tmp_path: Path, model: str, rows: Any, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PressbenchError) as raised:
        understood(tmp_path, model=model, data="rows.jsonl")
    told = str(raised.value)
    assert "\n" not in told and "rows.jsonl: " in told and line in told


def test_several_labels_for_a_head_that_says_nothing_of_them(tmp_path: Path) -> None:
    """Refused with what to say; and taken where it is said."""
    tiny_models.labeller(tmp_path / "model", problem=None)
    for name, rows in (("columns", columns({})), ("lists", one_column({}))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(PressbenchError, match='or task = "multi-label-classification" is said'):
            understood(tmp_path, model="model", data=f"{name}.jsonl")
        found = understood(tmp_path, model="model", data=f"{name}.jsonl", task="multi-label-classification")
        assert found.config()["problem_type"] == "multi_label_classification"
        assert marks_of(found, tmp_path) == dict(ROWS)
