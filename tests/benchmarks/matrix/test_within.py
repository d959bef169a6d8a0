"""`--within` bounds what any method may lose of quality in a run, and never loosens what a target states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.matrix.cases import expand
from benchmarks.matrix.targets import Target
from benchmarks.matrix.within import bounds_of_run
from benchmarks.quality.classification import Classification
from benchmarks.quality.language_modelling import LanguageModelling
from benchmarks.quality.text_generation import TextGeneration
from benchmarks.zoo import find_model
from compressors import registry
from compressors.interface import Hardware, PressbenchError
from results.store.quality import ACCURACY, PERPLEXITY, SCORE
from results.store.record import RunHeader
from results.store.within import in_words, parse, within

CPU = Hardware("cpu", "cpu-vnni")


def model(name: str, quality: Any, examples: int = 1000) -> Any:
    return SimpleNamespace(name=name, task=SimpleNamespace(quality=quality, test_examples=examples))


READER, WRITER = model("reader", Classification()), model("writer", LanguageModelling())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1pt", (True, 0.01)), ("0.5 pts", (True, 0.005)), ("3 points", (True, 0.03)), ("5%", (False, 0.05)),
        ("250 %", (False, 2.5)), ("1", None), ("pt", None), ("-1pt", None), ("0pt", None), ("100pt", None),
        ("1e1pt", None), ("0%", None), ("1pt 5%", None), ("inf%", None), ("", None),
    ],
)  # fmt: skip
def test_what_a_bound_may_look_like(text: str, found: tuple[bool, float] | None) -> None:
    assert parse(text) == (pytest.approx(found) if found else None)


def test_each_model_has_the_bound_of_its_own_unit() -> None:
    scored = SimpleNamespace(bound=TextGeneration.bound, resolves=lambda examples, bound: None)
    generator = model("translator", scored)
    assert bounds_of_run(["1pt", "5%"], [READER, WRITER, generator]) == pytest.approx(
        {"reader": 0.01, "writer": 0.05, "translator": 0.01}
    )
    assert bounds_of_run(["1pt"], [READER, WRITER]) == pytest.approx({"reader": 0.01})
    assert bounds_of_run([], [READER]) == {}


@pytest.mark.parametrize(
    ("given", "models", "said"),
    [
        (["1"], [READER], "--within 1: not a bound; say 1pt, points of a score"),
        (["1pt", "2pt"], [READER], "--within 2pt: 1pt is said too"),
        (["5%"], [READER], "--within 5%: no model of this run is judged by perplexity, but by accuracy, in points: say "
         "--within 1pt"),
        (["1pt"], [WRITER], "--within 1pt: no model of this run is judged by points, but by perplexity, in %: say "
         "--within 5%"),
        (["1pt"], [model("few", Classification(), 100)], "--within 1pt: few: 100 examples cannot resolve a margin of "
         "1 points"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(given: list[str], models: list[Any], said: str) -> None:
    with pytest.raises(PressbenchError) as raised:
        bounds_of_run(given, models)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


def test_the_tighter_bound_holds_and_dense_and_controls_have_none() -> None:
    known = registry.variants("full")
    names = ("dense", "torch-bf16", "int8-openvino", "quantize-weights-8bit", "prune-structured")
    targets = {"vit-digits": {
        "int8-openvino": Target(accuracy_drop=0.02, size=0.5), "quantize-weights-8bit": Target(accuracy_drop=0.01),
    }}  # fmt: skip
    cases = expand(
        "accuracy", {name: known[name] for name in names}, [find_model("vit-digits")], [CPU], targets, "quick",
        within={"vit-digits": 0.015},
    )  # fmt: skip
    assert {case.compressor_id: case.quality_bound for case in cases} == {
        "dense": None, "torch-bf16": None, "int8-openvino": 0.015, "quantize-weights-8bit": 0.01,
        "prune-structured": 0.015,
    }  # fmt: skip
    assert {case.compressor_id: case.target.size for case in cases}["int8-openvino"] == 0.5


def test_a_header_says_it_in_the_unit_that_is_asked_for() -> None:
    header = RunHeader(run="r", started="", options={"within": ["5%", "2pt", 7, "never"]})
    assert within(header, ACCURACY) == within(header, SCORE) == 0.02 and within(header, PERPLEXITY) == 0.05
    assert within(RunHeader(run="r", started="", options={"within": "2pt"}), ACCURACY) is None
    assert [in_words(True, 0.01), in_words(True, 0.025), in_words(False, 0.05)] == ["1 point", "2.5 points", "5 %"]
