"""What `--compressor` names, and a name that is not right told in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.matrix.selection import additions, as_option, parse_compressors
from compressors import registry
from compressors.interface import PressbenchError


def test_without_an_option_it_is_the_whole_tier() -> None:
    assert parse_compressors(None, "quick") == registry.variants("quick")
    assert set(parse_compressors(None, "quick")) < set(parse_compressors(None, "nightly"))


def test_an_id_a_class_and_parameters_of_ones_own() -> None:
    assert list(parse_compressors(["distil-layers-3"], "quick")) == ["distil-layers-3"]  # of another tier, and wanted
    assert set(parse_compressors(["quantize-weights"], "quick")) == {
        "quantize-weights-8bit",
        "quantize-weights-4bit-g64",
    }
    assert parse_compressors(["prune-tokens"], "quick") == {"prune-tokens": registry.build("prune-tokens")}
    chosen = parse_compressors(["quantize-weights:bits=5,granularity=channel,symmetric=false"], "quick")
    assert list(chosen) == ["quantize-weights-bits=5-granularity=channel-symmetric=False"]
    fused = 'fuse-soup:members=["prune-structured","low-rank-svd"],greedy=false'
    assert list(parse_compressors([fused], "quick")) == ["fuse-soup-members=prune-structured,low-rank-svd-greedy=False"]
    (built,) = chosen.values()
    assert built.parameters | {"bits": 5, "granularity": "channel", "symmetric": False} == built.parameters


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("int8-opnvino", "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
        ("int8-opnvino:samples=3", "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
        ("int8-openvino:sample=3", "compressor 'int8-openvino' has no parameter 'sample'; did you mean samples?"),
        ("int8-openvino:samples", "--compressor int8-openvino:samples: 'samples' is not key=value"),
        ("int8-openvino:", "--compressor int8-openvino:: '' is not key=value"),
        ("int8-openvino:samples=0", "compressor 'int8-openvino': samples is 0, must be at least 1"),
    ],
)
def test_a_compressor_that_makes_no_sense_is_one_line(text: str, told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        parse_compressors([text], "quick")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_what_a_model_names_itself_is_told_with_the_model() -> None:
    def named(*texts: str) -> Any:
        return SimpleNamespace(name="mine", also=texts)

    assert list(additions(named("prune-layers:removed=0.25"))) == ["prune-layers-removed=0.25"]
    for wrong, told in (("prune-layer", "did you mean prune-layers"), ("prune-layers:gone=1", "no parameter 'gone'")):
        with pytest.raises(PressbenchError, match=rf"^mine: compressors: .*{told}"):
            additions(named(wrong))


def test_a_sweep_is_a_method_at_each_of_its_strengths() -> None:
    chosen = parse_compressors(["dense", "prune-wanda", "quantize-weights:symmetric=false"], "quick", sweep=True)
    shares = registry.compressor_classes()["prune-wanda"].strengths["sparsity"]
    bits = registry.compressor_classes()["quantize-weights"].strengths["bits"]
    assert list(chosen) == [
        "dense",
        *(f"prune-wanda-sparsity={share}" for share in shares),
        *(f"quantize-weights-symmetric=False-bits={number}" for number in bits),
    ]
    assert len(shares) > 4 and [c.parameters["sparsity"] for c in list(chosen.values())[1 : 1 + len(shares)]] == [
        *shares
    ]


def test_a_sweep_of_a_variant_keeps_the_rest_of_it() -> None:
    chosen = parse_compressors(["prune-wanda-50-alone"], "quick", sweep=True).values()
    assert {c.parameters["recovery_epochs"] for c in chosen} == {0.0}
    assert [c.parameters["sparsity"] for c in chosen] == [
        *registry.compressor_classes()["prune-wanda"].strengths["sparsity"]
    ]


def test_strengths_of_several_parameters_go_together() -> None:
    chosen = parse_compressors(["prune-structured"], "quick", sweep=True).values()
    assert all(c.parameters["heads_removed"] == c.parameters["neurons_removed"] for c in chosen)


def test_a_sweep_without_names_is_of_the_tier() -> None:
    chosen = parse_compressors(None, "quick", sweep=True)
    assert {c.name for c in chosen.values()} == {c.name for c in registry.variants("quick").values()}
    assert "dense" in chosen and len(chosen) > len(registry.variants("quick"))


def test_every_strength_that_is_declared_can_be_built() -> None:
    for name, cls in registry.compressor_classes().items():
        lengths = {len(values) for values in cls.strengths.values()}
        assert len(lengths) <= 1, name
        if cls.strengths:
            assert len(parse_compressors([name], "quick", sweep=True)) == lengths.pop() > 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prune-wanda:sparsity=0.4", "--sweep: prune-wanda:sparsity=0.4: names every strength there is (sparsity)"),
        ("prune-wanda+int8-openvino", "--sweep: prune-wanda+int8-openvino: a chain has no strength of its own"),
        ("prune-wnda", "unknown compressor 'prune-wnda'; did you mean prune-wanda"),
    ],
)
def test_a_sweep_of_nothing_is_one_line(text: str, told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        parse_compressors([text], "quick", sweep=True)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["prune-wanda", "prune-wanda-50-alone", "distil-layers:layers=3,hidden=0.5", "dense"])
def test_an_option_is_said_again(text: str) -> None:
    (made,) = parse_compressors([text if text != "prune-wanda" else "prune-wanda:sparsity=0.5"], "quick").values()
    assert next(iter(parse_compressors([as_option(made)], "full").values())) == made
