"""What a zoo.toml and the options say, and what a person reads who makes a mistake in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import zoo
from benchmarks.matrix.matrix import Matrix
from benchmarks.matrix.options import add_options
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.selection import Selected, select_models
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parents[3]))
from tiny_models import classifier, reviews, write_csv

ZOO = """
[mine]
model = "my model"
data = "reviews.csv"
tokens = 32
workloads = ["4x32", "1x32"]

[mine.targets.quantize-weights-8bit]
accuracy_drop = 0.1
size = 0.5

[other]
model = "my model"
data = "reviews.csv"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A user's project."""
    classifier(tmp_path / "my model")
    rows = [[text, ("negative", "positive")[label]] for text, label in reviews(80)]
    write_csv(tmp_path / "reviews.csv", ("review", "sentiment"), rows)
    return tmp_path


def options(place: Path, **given: Any) -> Callable[[str], Any]:
    usual: dict[str, Any] = {}

    def add(name: str, **how: Any) -> None:
        usual[name] = how.get("default", False if how.get("action") == "store_true" else None)

    add_options(add)
    usual |= {"--cache": str(place / "cache")} | {f"--{key.replace('_', '-')}": value for key, value in given.items()}
    return usual.__getitem__


def select(place: Path, text: str | None = None, **given: Any) -> Selected:
    if text is not None:
        (place / "zoo.toml").write_text(text)
    return select_models(options(place, **given), place)


def refusal(place: Path, text: str | None = None, **given: Any) -> str:
    with pytest.raises(PressbenchError) as raised:
        select(place, text, **given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_file_in_the_folder_is_found(place: Path) -> None:
    chosen = select(place, ZOO)
    assert [model.name for model in chosen.models] == ["mine", "other"]
    assert [w.name for w in chosen.models[0].workloads] == ["4x32", "1x32"]
    assert set(chosen.targets) == {"mine"} and chosen.source == "zoo.toml"


def test_another_file_by_its_path_and_a_model_by_its_name(place: Path, tmp_path: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub" / "zoo.toml").write_text(ZOO.replace('"my model"', '"../my model"').replace('"rev', '"../rev'))
    chosen = select(place, zoo="sub/zoo.toml", model=["other", "vit-digits"])
    assert [model.name for model in chosen.models] == ["other", "vit-digits"] and not chosen.targets


def test_without_a_file_the_built_in_models_run(place: Path) -> None:
    chosen = [model.name for model in select(place).models]
    assert chosen == [name for name, model in zoo.known_models().items() if not model.asked_alone]
    assert "minilm-bbc" in chosen and "minilm-bbc-512" not in chosen
    assert [model.name for model in select(place, model=["minilm-bbc-512"]).models] == ["minilm-bbc-512"]


def test_targets_of_the_file_are_those_of_its_cases(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "zoo.toml").write_text(ZOO)
    monkeypatch.chdir(place)
    found = Matrix(options(place))
    cases = {case.id: case for case in found.cases["accuracy"]}
    assert cases["quantize-weights-8bit-mine-cpu"].quality_bound == 0.1
    assert cases["quantize-weights-8bit-other-cpu"].quality_bound is None
    assert [model.name for model in found.own] == ["mine", "other"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("accuracy_drop = 0.1", "perplexity_rise = 0.1"), "zoo.toml: [mine.targets.quantize-weights-8bit] perplexity_"
         "rise: mine is judged by accuracy_drop; state that"),
        (("targets.quantize-weights-8bit", "targets.quantise"), "zoo.toml: [mine.targets.quantise]: no such case; "),
        (("size = 0.5", "size = 0.5\nspeed = { cpu-vnni = 2 }"), "zoo.toml: [mine.targets.quantize-weights-8bit] speed:"
         " the effect of"),
    ],
)  # fmt: skip
def test_a_mistake_in_targets(place: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], said: str) -> None:
    (place / "zoo.toml").write_text(ZOO.replace(*change))
    monkeypatch.chdir(place)
    with pytest.raises(PressbenchError) as raised:
        Matrix(options(place))
    assert str(raised.value).startswith(said)


def test_targets_in_two_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "zoo.toml").write_text(ZOO)
    (place / "targets.toml").write_text("[mine.dense]\nsize = 2.0\n")
    monkeypatch.chdir(place)
    with pytest.raises(PressbenchError, match=r"targets.toml: \[mine\]: zoo.toml states targets of it too"):
        Matrix(options(place, targets=str(place / "targets.toml")))
    (place / "targets.d").mkdir()
    (place / "targets.toml").rename(place / "targets.d" / "more.toml")
    (place / "targets.toml").write_text("[vit-digits]\n")
    with pytest.raises(PressbenchError, match=r"more.toml: \[mine\]: zoo.toml states targets of it too"):
        Matrix(options(place, targets=str(place / "targets.toml")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "zoo.toml: no models there; state one as [NAME] with model and data"),
        ("model = 1", "zoo.toml: model must be a table, [NAME] with model and data"),
        ("[mine", "zoo.toml: "),
        ("[Mine]\nmodel = 'm'\ndata = 'd'", "zoo.toml: [Mine]: a name is made of small letters, digits, "),
        ("[mine]\ndata = 'reviews.csv'", "zoo.toml: [mine]: model is missing"),
        ("[mine]\nmodel = 'my model'", "zoo.toml: [mine]: data is missing"),
        ("[mine]\nmodel = 'm'\ndata = 'd'\ntoken = 3", "zoo.toml: [mine]: unknown key 'token'; did you mean token"),
        ("[mine]\nmodel = 'm'\ndata = 'd'\ntokens = '3'", "zoo.toml: [mine]: tokens: Input should be a valid integer"),
        ("[mine]\nmodel = 'm'\ndata = 'd'\ntokens = 0", "zoo.toml: [mine]: tokens: Input should be greater than or"),
        ("[mine]\nmodel = 'm'\ndata = 'd'\nworkloads = ['8*9']", "zoo.toml: [mine]: workloads: no workload: '8*9'; "),
        ("[mine]\nmodel = 'm'\ndata = 'd'\nmetric = 'bleu'", "zoo.toml: [mine]: metric: Input should be 'chrf' or "),
        ("[mine]\nmodel = 'm'\ndata = 'd'\npublished = [{}]", "zoo.toml: [mine]: published.0.method is missing"),
        ("[mine]\nmodel = 'm'\ndata = 'd'\ntargets = 3", "zoo.toml: [mine]: targets must be a table of compressors"),
        (
            "[vit-digits]\nmodel = 'm'\ndata = 'd'",
            "zoo.toml: [vit-digits]: a model that comes with pressbench has that",
        ),
        ("[distilbert-sst2]\nmodel = 'm'\ndata = 'd'", "zoo.toml: [distilbert-sst2]: a model that comes with pressben"),
        ("[mine]\nmodel = './nowhere'\ndata = 'reviews.csv'", "zoo.toml: [mine]: model: ./nowhere: no such folder in "),
    ],
)
def test_mistakes_in_the_file(place: Path, text: str, said: str) -> None:
    assert refusal(place, text).startswith(said)


def test_a_file_that_is_not_there(place: Path) -> None:
    assert refusal(place, zoo="zu.toml") == "zu.toml: not found"
    assert refusal(place, ZOO, model=["mien"]).startswith("unknown model 'mien'; did you mean mine")


# -- options -----------------------------------------------------------------------------------------------------------


def test_one_model_by_options(place: Path) -> None:
    given = ["tokens=32", "columns.text=review", "labels=negative,positive", "too_long=refuse", "test_examples=20"]
    (model,) = select(place, model=["my model/"], data="reviews.csv", set=given).models
    assert isinstance(model, OwnModel)
    assert (model.name, model.task.test_examples, model.understood["settings"]["tokens"]) == (
        "my-model-reviews",
        20,
        32,
    )
    assert select(place, model=["my model"], data="reviews.csv", set=["name=short"]).models[0].name == "short"


def test_options_win_over_a_file_that_is_there(place: Path) -> None:
    assert [m.name for m in select(place, ZOO, model=["my model"], data="reviews.csv").models] == ["my-model-reviews"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": "reviews.csv"}, "--data: goes with one --model, the folder or the hub name of a model of your own"),
        ({"model": ["a", "b"], "data": "reviews.csv"}, "--data: goes with one --model, "),
        ({"model": ["my model"], "task": "causal-lm"}, "--task: goes with --model and --data, a model and data"),
        ({"model": ["my model"]}, "--model my model: a model of your own needs data, --data FILE"),
        ({"model": ["vit-digits"], "data": "reviews.csv"}, "--data: vit-digits comes with pressbench, with data"),
        ({"model": ["my model"], "data": "reviews.csv", "set": ["tokens"]}, "--set tokens: not KEY=VALUE"),
        ({"model": ["my model"], "data": "reviews.csv", "set": ["token=3"]}, "--model: unknown key 'token'; did you "),
        ({"model": ["my model"], "data": "reviews.csv", "set": ["columns=a"]}, "--set columns=a: not columns.R"),
        ({"model": ["my model"], "data": "reviews.csv", "set": ["tokens=3", "tokens.x=4"]},
         "--set tokens.x=4: tokens is said twice"),
        ({"model": ["my model"], "data": "reviews.csv", "set": ["name=Ä"]}, "--set name=Ä: a name is made of small "),
    ],
)  # fmt: skip
def test_mistakes_in_options(place: Path, given: dict[str, Any], said: str) -> None:
    assert refusal(place, **given).startswith(said)
