"""What a record holds of the examples that flipped: the right ones, both ways, cut, and a picture of the right row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from torch import nn

from benchmarks.cache import Cache
from benchmarks.quality.flips import MOST, flipped
from benchmarks.quality.shown import IMAGE_PIXELS, TEXT_CHARACTERS, fit, read_shown, write_shown
from benchmarks.zoo import find_model
from benchmarks.zoo.dense import Dense, prepare_dense
from benchmarks.zoo.models.vit_digits import VitDigits
from compressors.interface import Hardware, PressbenchError

NAMES = ("a", "b", "c")


def found(labels: list[int], dense: list[int], compressed: list[int]) -> dict[str, Any]:
    shown = [{"text": f"row {row}"} for row in range(len(labels))]
    return flipped(np.array(labels), np.array(dense), np.array(compressed), NAMES, shown)


def test_each_flip_is_told_with_its_row_its_text_and_the_names_of_the_answers() -> None:
    held = found([0, 1, 2, 0], [0, 1, 1, 1], [0, 2, 2, 2])
    assert held == {
        "total": 3,
        "examples": [
            {"row": 1, "label": "b", "dense": "b", "compressed": "c", "text": "row 1"},
            {"row": 2, "label": "c", "dense": "b", "compressed": "c", "text": "row 2"},
            {"row": 3, "label": "a", "dense": "b", "compressed": "c", "text": "row 3"},
        ],
    }
    assert found([0, 1], [0, 1], [0, 1]) == {"total": 0, "examples": []}


def test_a_case_that_loses_much_still_shows_what_it_gains() -> None:
    lost, gained = 500, 3
    held = found([0] * (lost + gained), [0] * lost + [1] * gained, [1] * lost + [0] * gained)
    assert held["total"] == lost + gained
    assert len(held["examples"]) == MOST
    assert sum(one["compressed"] == one["label"] for one in held["examples"]) == gained
    rows = [one["row"] for one in held["examples"]]
    assert rows == sorted(set(rows))


def test_an_answer_outside_the_tasks_classes_is_told_by_its_number() -> None:
    (one,) = found([0], [0], [7])["examples"]
    assert one["compressed"] == "7"


def test_long_texts_are_cut_and_say_so_and_what_is_odd_survives(tmp_path: Path) -> None:
    odd = "two\nlines\u2028\u202e\x00\ud800 <b>&"
    write_shown([{"text": "x" * TEXT_CHARACTERS}, {"text": "y" * 5000}, {"text": odd}, {}], tmp_path / "s")
    whole, cut, strange, nothing = read_shown(tmp_path / "s")
    assert whole["text"] == "x" * TEXT_CHARACTERS
    assert len(cut["text"]) == TEXT_CHARACTERS and cut["text"].endswith("y…")
    assert strange["text"] == odd and nothing == {}


@pytest.mark.parametrize(
    "image", [[], [[]], [[0], [0, 1]], [[256]], [[-1]], [[0] * (IMAGE_PIXELS + 1)], [[0]] * (IMAGE_PIXELS + 1)]
)
def test_an_image_that_cannot_be_shown_is_refused_before_anything_is_measured(image: list[list[int]]) -> None:
    with pytest.raises(PressbenchError, match="an image to be shown must have"):
        fit({"image": image})


class Untrained(VitDigits):
    """As it is before training, which the data does not depend on."""

    def train(self, *_: Any) -> nn.Module:
        return transformers.ViTForImageClassification(transformers.ViTConfig(**self.config())).eval()


def test_what_is_shown_is_what_the_model_is_tested_on_row_by_row(tmp_path: Path) -> None:
    prepare_dense(Untrained(), Cache(tmp_path / "cache"), Hardware("cpu", "cpu"), lambda *_: None, tmp_path)
    dense = Dense(tmp_path)
    shown = np.array([one["image"] for one in dense.shown()])
    pixels = dense.test().inputs["pixel_values"].numpy()[:, 0]
    assert len(shown) == find_model("vit-digits").task.test_examples
    np.testing.assert_allclose(shown / 127.5 - 1, pixels, atol=0.5 / 127.5 + 1e-6)
    assert shown.min() == 0 and shown.max() == 255
