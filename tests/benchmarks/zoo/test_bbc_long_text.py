"""Long texts out of short documents."""

from __future__ import annotations

from typing import ClassVar

import pytest

from benchmarks import zoo
from benchmarks.hardware import select
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.run.measures import accuracy
from benchmarks.zoo.models.smollm2_long import Smollm2Long
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.bbc_long_text import BbcLongText, joined
from compressors import registry
from compressors.interface import Unsupported


def test_each_document_is_whole_in_one_text_and_what_is_too_short_is_left_out() -> None:
    documents = [f" {number}:" + "x" * (7 + number % 5) + "\n" for number in range(50)]
    texts = joined(documents, 40)
    assert all(len(text) >= 40 for text in texts)
    parts = [part for text in texts for part in text.split("\n\n")]
    assert parts == [document.strip() for document in documents[: len(parts)]]
    assert len(documents) - len(parts) < 5
    # None is longer than it must be: without its last document it were too short.
    assert all(sum(map(len, text.split("\n\n")[:-1])) < 40 for text in texts)


@pytest.mark.parametrize("model", zoo.known_models().values(), ids=lambda model: model.name)
def test_every_model_here_has_enough_examples_to_be_scored(model: zoo.Model) -> None:
    assert model.task.quality.too_few(model.task.test_examples) is None


def test_too_few_are_told_before_anything_is_made() -> None:
    class Few(BbcLongText):
        test_examples: ClassVar[int] = 24

    class Model(Smollm2Long):
        task: ClassVar[Task] = Few()

    dense = registry.variants("full")["dense"]
    case = Case("accuracy", "dense", dense, Model(), select("cpu"), None, Target())
    with pytest.raises(Unsupported, match="24 documents cannot carry a verdict on perplexity: needs 50"):
        accuracy.measure(None, case)  # type: ignore[arg-type]  # nothing is asked of it
