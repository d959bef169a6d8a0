"""What the options select: names, lists, and what a person reads who mixes them up. And how it is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.selection import select_models
from benchmarks.zoo.own.told import told
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parents[3]))
from tiny_models import classifier, reviews, write_csv

NAMES = ("negative", "positive")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a person is in; its name has a blank."""
    folder = tmp_path_factory.mktemp("own") / "my work"
    folder.mkdir()
    classifier(folder / "my-model")
    classifier(folder / "minilm")
    rows = [[text, NAMES[label]] for text, label in reviews(60)]
    write_csv(folder / "reviews.csv", ("review", "sentiment"), rows)
    write_csv(folder / "bbc.csv", ("review", "sentiment"), rows)
    write_csv(
        folder / "short.csv", ("review", "sentiment"), [[text, {"negative": "neg"}.get(n, "p,s")] for text, n in rows]
    )
    heading, *lines = (folder / "reviews.csv").read_text().split()[0], *(f"{text};{name}" for text, name in rows)
    windows = "\r\n".join([heading.replace(",", ";"), *lines, ""])
    (folder / "windows.csv").write_bytes(windows.encode("utf-8-sig"))
    (folder / "wide.csv").write_bytes(windows.encode("utf-16"))
    for name, some in (("train", rows[:30]), ("test", rows[30:])):
        write_csv(folder / "both" / f"{name}.csv", ("review", "sentiment"), some)
    return folder


@pytest.fixture
def select(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    def call(*models: str, **options: Any) -> OwnModel:
        said = {"model": list(models), "cache": str(tmp_path / "cache"), **options}
        (found,) = select_models(lambda name: said.get(name.removeprefix("--").replace("-", "_")), start).models
        assert isinstance(found, OwnModel)
        return found

    return call


def test_files_as_people_have_them(select: Any, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slash at the end, `~`, semicolons with Windows' line ends and its mark, a folder with both splits."""
    assert select("my-model/", data="reviews.csv").name == "my-model-reviews"
    assert select("./my-model", data="windows.csv").understood["rows"] == {"windows.csv": 60}
    assert select("./my-model", data="both/").understood["rows"] == {"both/train.csv": 30, "both/test.csv": 30}
    monkeypatch.setenv("HOME", str(start))
    assert select("~/my-model", data="~/reviews.csv").understood["rows"] == {"~/reviews.csv": 60}


def test_names_of_classes_in_a_parquet_file(select: Any, start: Path) -> None:
    """Its numbers mean what the file says, not the model's: they are the other way about."""
    rows = [{"text": text, "label": 1 - label} for text, label in reviews(60)]
    made = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=["Positive", "Negative"]))
    made.to_parquet(str(start / "classes.parquet"))
    found = select("my-model", data="classes.parquet")
    assert "labels by name: negative, positive" in found.understood["notes"]
    kept = {row["text"]: row["label"] for row in datasets.load_from_disk(str(found.task.entry / "splits"))["test"]}
    true = dict(reviews(60))
    assert {text: true[text] for text in kept} == kept


@pytest.mark.parametrize("said", ['labels=["neg","p,s"]', 'labels=[ "neg", "p,s" ]'])
def test_a_list_may_be_json(select: Any, said: str) -> None:
    assert "labels in the order given: neg, p,s" in select("my-model", data="short.csv", set=[said]).understood["notes"]


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        (["my-modell"], {"data": "reviews.csv"}, "--model: model: my-modell: no such file or folder in "),
        (["my-model"], {"data": "review"}, "--model: data: review: no such file or folder in "),
        (["./my-modell"], {}, "--model ./my-modell: no such folder in "),
        (["my-model"], {}, "--model my-model: a model of your own needs data, --data FILE"),
        (["org/name"], {}, "--model org/name: a model of the hub needs data, --data FILE"),
        (["my-model"], {"data": "reviews.csv", "zoo": "zoo.toml"}, "--data: a model and data are named by options or "),
        (["minilm-bbc"], {"data": "reviews.csv"}, "--data: minilm-bbc comes with pressbench, with data of its own; "),
        (
            ["opt-125m-wikitext2"],
            {"data": "reviews.csv"},
            "--data: opt-125m-wikitext2 comes with pressbench, with data of its own; leave --data out, or name its "
            "model: facebook/opt-125m",
        ),
        (["my-model"], {"data": "reviews.csv", "set": ["name=My Model"]}, "--set name=My Model: a name is made of "),
        (["my-model"], {"data": "reviews.csv", "set": ["name=vit-digits"]}, "--set name=vit-digits: a model that "),
        (["my-model"], {"data": "reviews.csv", "set": ["columns=review"]}, "--set columns=review: not columns.ROLE="),
        (
            ["my-model"],
            {"data": "short.csv"},
            "--model: short.csv: row 1: unknown label 'neg' (and 1 more label); the model has negative, positive; say "
            "which is which: labels = the data's, in the order of the head",
        ),
        (
            ["my-model"],
            {"data": "reviews.csv", "set": ["labels=neg,pos"]},
            "--model: reviews.csv: row 1: unknown label 'negative' (and 1 more label); labels says neg, pos",
        ),
        (
            ["my-model"],
            {"data": "wide.csv"},
            "--model: wide.csv: not utf-8; save the file as UTF-8 or say encoding=utf-16",
        ),
        (
            ["my-model"],
            {"data": "reviews.csv", "set": ["workloads=4y16"]},
            "--model: workloads: no workload: '4y16'; they look like 8x128, 32, prefill-1x512, decode-1x128-16 and "
            "generate-8x64-32",
        ),
    ],
)
def test_what_is_mixed_up(select: Any, models: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(PressbenchError) as raised:
        select(*models, **options)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


def test_a_name_is_never_that_of_a_model_that_comes_with_pressbench(select: Any) -> None:
    """Its targets and accepted results would be taken for this one's."""
    assert select("minilm", data="bbc.csv").name == "own-minilm-bbc"


def test_what_is_told_fits_the_terminal(select: Any) -> None:
    model = select("my-model", data="both", set=["columns.label=sentiment", "columns.text=review"])
    lines, narrow = told(model), told(model, 79)
    assert max(map(len, narrow)) <= 79 < max(map(len, lines))
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(lines).split())
    assert all(line.startswith(" " * 9) for line in narrow if line not in lines and not line.startswith("  data"))
    assert told(model, 1000) == lines
