"""What `--compressor` names, and a name that is not right told in one line."""

from __future__ import annotations

import pytest

from benchmarks.matrix.selection import parse_compressors
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
    chosen = parse_compressors(["quantize-weights:bits=5,granularity=channel,symmetric=false"], "quick")
    assert list(chosen) == ["quantize-weights-bits=5-granularity=channel-symmetric=False"]
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
