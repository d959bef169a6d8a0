"""What lies beside a graph tells whether it is of the dense model's kind: labels, vocabulary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressors.given.companions import check_companions
from compressors.given.form import GivenError
from compressors.tiny_specs import TINY_SPECS

BERT = TINY_SPECS["bert"]
MODEL = replace(BERT, config={**BERT.config, "id2label": {"0": "bad", "1": "fair", "2": "good"}})


def check(folder: Path, **config: Any) -> tuple[str, ...]:
    (folder / "config.json").write_text(json.dumps(config))
    return check_companions(folder, "model.onnx", MODEL)


def test_the_same_labels_unnamed_ones_and_none_at_all_are_no_matter(tmp_path: Path) -> None:
    check_companions(tmp_path, "model.onnx", MODEL)
    check(tmp_path, id2label={"0": "Bad", "1": "fair", "2": "good"}, vocab_size=BERT.config["vocab_size"])
    check(tmp_path, id2label={str(n): f"LABEL_{n}" for n in range(3)})
    check(tmp_path)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"id2label": {"0": "good", "1": "fair", "2": "bad"}},
            "model.onnx: config.json calls output 0 'good', the dense model 'bad': its outputs are in another order",
        ),
        (
            {"id2label": {"0": "bad", "1": "fair", "2": "superb"}},
            "model.onnx: config.json calls output 2 'superb', the dense model 'good': it was trained for other labels",
        ),
        ({"vocab_size": 7}, "model.onnx: config.json has a vocabulary of 7, the dense model one of 600: it reads"),
        ({"id2label": 3}, "model.onnx: config.json beside it is not readable as JSON"),
    ],
)  # fmt: skip
def test_another_models_are_told(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    with pytest.raises(GivenError) as error:
        check(tmp_path, **config)
    assert str(error.value).startswith(told)


LLAMA = replace(MODEL, config={**MODEL.config, "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"rope_parameters": {"rope_theta": 100000.0}}, None),
        ({"rope_theta": 100000.0, "transformers_version": "4.57.6"}, None),
        ({}, None),
        ({"rope_parameters": {"rope_theta": 5000}}, "5,000"),
        # Read by a transformers that does not know rope_parameters, which it carries along.
        ({"rope_parameters": {"rope_theta": 1e5}, "rope_theta": 1e4, "transformers_version": "4.57.6"}, "10,000"),
    ],
)  # fmt: skip
def test_another_rotary_base_is_told(tmp_path: Path, config: dict[str, Any], told: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = f"config.json beside it has a rotary base (rope_theta) of {told}, the dense model 100,000"
    assert check_companions(tmp_path, "model.onnx", LLAMA) == ((line,) if told else ())


def test_a_graph_in_a_folder_of_a_repository_is_told_by_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 7}))
    with pytest.raises(GivenError, match="a vocabulary of 7"):
        check_companions(tmp_path / "onnx", "x", MODEL)
    (tmp_path / "mine").mkdir()
    check_companions(tmp_path / "mine", "x", MODEL)


def test_other_numbers_of_labels_are_other_models(tmp_path: Path) -> None:
    with pytest.raises(GivenError, match=r"config\.json has 2 outputs, the dense model 3"):
        check(tmp_path, id2label={"0": "bad", "1": "good"})


def test_labels_of_more_than_ten_outputs_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    names = {str(number): f"c{number}" for number in range(12)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(sorted(names.items()))}))
    check_companions(tmp_path, "x", replace(BERT, config={**BERT.config, "id2label": names}))
