"""What a search is asked for: recipes with open values, read, checked at their ends, and written again."""

from __future__ import annotations

import optuna
import pytest

from benchmarks.search.space import parse_space
from compressors.interface import PressbenchError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("low-rank-svd:rank_ratio=0.2..0.6/0.2", [{"low-rank-svd.rank_ratio": v} for v in (0.2, 0.4, 0.6)]),
        ("quantize-weights:bits=2..8/3", [{"quantize-weights.bits": v} for v in (2, 5, 8)]),
        ("quantize-weights:bits=3..8/4", [{"quantize-weights.bits": v} for v in (3, 7)]),
        ("quantize-gptq:grid=linear|fitted,bits=4", [{"quantize-gptq.grid": v} for v in ("linear", "fitted")]),
        ("weight-only:bits=null|8", [{"weight-only.bits": v} for v in (None, 8)]),
    ],
)
def test_a_grid_has_every_value_once(text: str, values: list[dict[str, object]]) -> None:
    assert parse_space([text]).grid() == values


def test_a_grid_is_a_product_and_alternatives_add_up() -> None:
    texts = ["prune-layers:removed=0.2|0.4,recovery_epochs=0|1", "low-rank-svd"]
    found = parse_space(texts).grid()
    assert len(found) == 5 and len({str(values) for values in found}) == 5
    assert [values["recipe"] for values in found] == [texts[0]] * 4 + ["low-rank-svd"]


def test_a_trial_is_a_recipe_that_the_suite_takes() -> None:
    space = parse_space(["prune-structured:heads_removed=0.25..0.75,neurons_removed=0.5+int8-onnxruntime"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = {space.ask(study.ask()) for _ in range(5)}
    assert len(found) == 5
    for recipe in found:
        first, second = recipe.split("+")
        assert second == "int8-onnxruntime"
        heads = float(first.partition("heads_removed=")[2].partition(",")[0])
        assert 0.25 <= heads <= 0.75 and len(str(heads)) <= 6 and first.endswith("neurons_removed=0.5")


def test_the_same_method_twice_has_two_names() -> None:
    space = parse_space(["weight-only:bits=4|8+weight-only:bits=4|8"])
    assert len({name for values in space.grid() for name in values}) == 2


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["low-rank-svd"], "nothing is left open"),
        (["low-rank-svd:rank=0.2..0.6"], "rank"),
        (["low-rank-sdv:rank_ratio=0.2..0.6"], "did you mean low-rank-svd"),
        (["low-rank-svd:rank_ratio=0.6..0.2"], "LOW must be below HIGH"),
        (["low-rank-svd:rank_ratio=0.2..0.6/0"], "STEP between 0"),
        (["low-rank-svd:rank_ratio=0.2..1.5"], "rank_ratio = 1.5: must lie between"),
        (["low-rank-svd:rank_ratio=low..high"], "a range is LOW..HIGH"),
        (["quantize-gptq:grid=linear|linear"], "must differ"),
        (["quantize-gptq:grid=linear|no-grid"], "grid = 'no-grid': must be one of"),
    ],
)
def test_a_mistake_is_one_line(texts: list[str], told: str) -> None:
    with pytest.raises(PressbenchError, match=told) as caught:
        parse_space(texts)
    assert "\n" not in str(caught.value)


def test_a_grid_wants_steps_and_an_end() -> None:
    with pytest.raises(PressbenchError, match="a grid needs steps: write"):
        parse_space(["low-rank-svd:rank_ratio=0.2..0.6"]).grid()
    with pytest.raises(PressbenchError, match="more than 10,000 trials"):
        parse_space(["prune-structured:heads_removed=0.1..0.9/0.001,neurons_removed=0.1..0.9/0.01"]).grid()
