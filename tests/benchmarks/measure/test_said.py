"""A method is given what the dense model says of the training data, as it was asked before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.measure import stages
from benchmarks.zoo.dense import TRAINING, write_examples
from compressors import asked_once, conformance
from compressors.distillation.layers import DistilLayers
from compressors.interface import Context, Examples, Hardware, no_progress
from compressors.recovery import everything

FP32 = Hardware("cpu", "cpu")


@pytest.fixture
def tiny_bert() -> conformance.Subject:
    return conformance.subject("bert")


class Given(Exception):
    pass


def given(subject: conformance.Subject, folder: Path, monkeypatch: pytest.MonkeyPatch, asked: bool = True) -> Context:
    """The context of a method that is run on the subject, whose dense model was asked before or was not."""
    shutil.copytree(subject.dense.directory, folder / "artifact")
    write_examples(Examples(subject.examples.inputs, subject.examples.labels), folder / TRAINING)
    said = folder / "said"
    said.mkdir()
    if asked:
        stages.ask_dense({}, folder, FP32, said, progress=no_progress)
    step = stages.Step(
        "distil-layers", {"layers": 1}, folder / "artifact", folder, FP32, 0, said=said if asked else None
    )

    def see(method: DistilLayers, model: object, context: Context) -> None:
        raise Given(context)

    monkeypatch.setattr(DistilLayers, "compress", see)
    with pytest.raises(Given) as found:
        stages.compress({}, step, folder / "made", progress=no_progress)
    context: Context = found.value.args[0]
    return context


def test_the_training_data_have_the_answers_and_the_states_beside_them(
    tiny_bert: conformance.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = given(tiny_bert, tmp_path, monkeypatch)
    wanted = everything(tiny_bert.dense.model().eval(), tiny_bert.examples)
    training, said = context.require_training(), context.dense_said()
    assert training.dense_logits is not None and training.dense_logits.dtype == torch.float32
    assert torch.allclose(training.dense_logits, wanted["logits"], atol=1e-5)
    assert said is not None and said.keys() == wanted.keys()
    torch.testing.assert_close(said["hidden_states 1"].float(), wanted["hidden_states 1"], atol=0.02, rtol=0.01)


def test_where_the_states_are_too_much_the_answers_are_there_alone(
    tiny_bert: conformance.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_bert.examples.dense_logits is not None
    monkeypatch.setattr(asked_once, "KEPT", 2 * tiny_bert.examples.dense_logits.nbytes)
    context = given(tiny_bert, tmp_path, monkeypatch)
    assert context.dense_said() is None
    found = context.require_training().dense_logits
    assert found is not None and torch.allclose(found, tiny_bert.examples.dense_logits, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_answers_at_each_place_are_none_of_an_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = given(conformance.subject(name), tmp_path, monkeypatch)
    assert (context.require_training().dense_logits is None) == (name == "llama")
    assert context.dense_said() is not None


def test_nothing_is_given_where_nobody_was_asked(
    tiny_bert: conformance.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = given(tiny_bert, tmp_path, monkeypatch, asked=False)
    assert context.dense_said() is None and context.require_training().dense_logits is None
