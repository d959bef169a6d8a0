"""What models answer: asked once, kept, and made into records of accuracy."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cache import Cache
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.measure import stages
from benchmarks.progress import Stages
from benchmarks.quality.beside import agreement, repeated_pieces, repetition
from benchmarks.quality.classification import no_better_than_one_class
from benchmarks.quality.text_generation import TextGeneration
from benchmarks.run import summary
from benchmarks.run.session import Session
from benchmarks.zoo import find_model
from compressors import registry
from compressors.interface import Examples, Hardware
from results.store.record import CaseRecord, RunHeader
from results.store.store import Run as StoredRun

CPU = Hardware("cpu", "cpu-vnni", threads=1)
SKETCH = np.ones((3, 2), np.float32)
NO_TARGET = Target()


class Answers:
    """Stands in for a worker: answers with the same logits, and remembers what was asked."""

    def __init__(self) -> None:
        self.evaluated: list[str] = []

    def __call__(self, name: str, hardware: Hardware, enclosure: Any = None) -> Answers:
        self.name = name
        return self

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, function: Any, *_: Any, **__: Any) -> Any:
        if function is stages.answer:
            self.evaluated.append(self.name)
        if function is stages.sketches:
            return SKETCH
        return {"predictions": np.arange(3), stages.SKETCH: SKETCH}


@pytest.fixture
def evaluated(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    (tmp_path / "examples").write_bytes(b"the test set")
    answers = Answers()
    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(inputs_path=tmp_path / "examples"))
    monkeypatch.setattr(session.prepared, "worker", answers)
    return answers


def saved(digest: str = "0" * 64, options: dict[str, Any] | None = None, sparsity: float = 0.5) -> Any:
    manifest = {"runtime": "torch", "options": options or {}}
    recipe = [{"compressor": "prune-magnitude", "parameters": {"sparsity": sparsity}}]
    return SimpleNamespace(digest=digest, directory=Path("nowhere"), manifest=manifest, recipe=recipe)


def test_the_same_files_are_evaluated_once_and_by_the_next_run_not_at_all(
    session: Session, evaluated: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model("vit-digits")
    for label in ("first", "second"):
        assert session.evaluated.answers(saved(), model, CPU, label)["predictions"].tolist() == [0, 1, 2]
    assert evaluated.evaluated == ["first"]
    again = Session(Cache(tmp_path), session.settings, Stages(io.StringIO()), "later")
    monkeypatch.setattr(again.prepared, "dense", session.prepared.dense)
    monkeypatch.setattr(again.prepared, "worker", evaluated)
    assert again.evaluated.answers(saved(), model, CPU, "third")["predictions"].tolist() == [0, 1, 2]
    assert evaluated.evaluated == ["first"]


def test_whatever_could_change_an_answer_is_evaluated_again(
    session: Session, evaluated: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(label: str, artifact: Any, hardware: Hardware = CPU) -> None:
        session.evaluated.answers(artifact, find_model("vit-digits"), hardware, label)

    ask("as it was", saved())
    ask("other bytes", saved(digest="1" * 64))
    ask("bf16", saved(options={"dtype": "bfloat16"}))
    ask("parameters that a layer may read when it is loaded", saved(sparsity=0.6))
    ask("more threads", saved(), Hardware("cpu-2", "cpu-vnni", threads=2))
    (tmp_path / "examples").write_bytes(b"another test set")
    ask("other examples", saved())
    monkeypatch.setattr("benchmarks.preparation.evaluation.code_of", lambda step: [__file__])
    ask("other code", saved())
    assert len(evaluated.evaluated) == 7


def test_what_results_are_measured_on_is_told_part_by_part(
    session: Session, evaluated: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, found = find_model("vit-digits"), []

    def ask() -> None:
        session.prepared._measured_on.clear()
        found.append(session.prepared.measured_on(model))

    ask()
    (tmp_path / "examples").write_bytes(b"as many others")
    ask()
    quality = TextGeneration("chrf", 8, (1,), "a folder")
    monkeypatch.setattr(type(model), "task", SimpleNamespace(quality=quality))
    ask()
    monkeypatch.setattr(type(model), "task", SimpleNamespace(quality=replace(quality, tokenizer="another folder")))
    ask()
    monkeypatch.setattr(type(model), "origin", lambda self: {"weights": "others"})
    ask()
    changed = [{part for part in a if a[part] != b[part]} for a, b in itertools.pairwise(found)]
    assert changed == [{"examples"}, {"metric"}, set(), {"model"}]


def test_texts_of_another_length_are_written_again(
    session: Session, evaluated: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model("vit-digits")
    for longest in (8, 8, 9):
        task = SimpleNamespace(quality=TextGeneration("chrf", longest, (1,), "nowhere"))
        monkeypatch.setattr(type(model), "task", task)
        session.evaluated.answers(saved(), model, CPU, str(longest))
    assert evaluated.evaluated == ["8", "9"]


def test_what_scoring_needs_and_is_not_there_is_no_failure(
    session: Session, evaluated: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model("vit-digits")
    task = SimpleNamespace(name="texts", quality=TextGeneration("chrf", 8, (1,), "nowhere"))
    monkeypatch.setattr(type(model), "task", task)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    build = registry.variants()["int8-openvino"]
    record = session.accuracy(Case("accuracy", "int8-openvino", build, model, CPU, None, Target()))
    assert record.verdict == "unsupported" and evaluated.evaluated == []
    assert record.reason == 'scoring needs a package that is not installed: pip install -c constraints.txt -e ".[text]"'


def test_the_dense_models_own_flips_are_counted_at_another_batch_size(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answers(*_: Any, batch: int | None = None, first: int | None = None) -> dict[str, np.ndarray]:
        asked.append((batch, first))
        return {"predictions": np.zeros(300, int) if batch is None else np.eye(1, 256, 7, dtype=int)[0]}

    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(artifact=saved()))
    monkeypatch.setattr(session.prepared, "measured_on", lambda *_: {})
    monkeypatch.setattr(session.evaluated, "answers", answers)
    found, words = session.evaluated.flip_floor(find_model("vit-digits"), CPU)
    assert found == {"examples": 256, "batch": 1, "flips": 1}
    assert words == "at batch 1 1 of 256 predictions differ"
    assert asked == [(None, None), (1, 256)]


# -- records ---------------------------------------------------------------------------------------


def test_a_margin_that_the_data_cannot_resolve_is_unsupported_before_anything_is_built(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.prepared, "dense", lambda *_: pytest.fail("the dense model was asked for"))
    monkeypatch.setattr(session.prepared, "measured_on", lambda *_: {})
    model = find_model("vit-digits")
    target = Target(accuracy_drop=0.001)
    record = session.accuracy(Case("accuracy", "dense", registry.variants()["dense"], model, CPU, None, target))
    assert record.verdict == "unsupported"
    assert "599 examples cannot resolve a margin" in record.reason


def answered(predictions: np.ndarray) -> dict[str, np.ndarray]:
    return {"predictions": predictions, "confidence": np.full(len(predictions), 0.9, np.float32)}


def recorded(
    session: Session, monkeypatch: pytest.MonkeyPatch, labels: np.ndarray, dense: np.ndarray, compressed: np.ndarray,
    *, shown: bool = True, target: Target = NO_TARGET,
) -> CaseRecord:  # fmt: skip
    """The accuracy of a method on digits, given both models' predictions. shown: whether the dense model is run as its
    owner would."""
    answers = iter((dense, compressed))
    entry = SimpleNamespace(
        told=None,
        artifact=SimpleNamespace(digest="0" * 64, recipe=[]),
        test=lambda: Examples({}, torch.from_numpy(labels)),
        shown=lambda: [{"text": f"digit {row}"} for row in range(len(labels))],
    )
    monkeypatch.setattr(session.prepared, "dense", lambda *_: entry)
    monkeypatch.setattr(session.prepared, "measured_on", lambda *_: {})
    monkeypatch.setattr(session.prepared, "artifact", lambda *_: entry.artifact)
    monkeypatch.setattr(session.evaluated, "answers", lambda *_: answered(next(answers)))
    session.prepared.agreed["vit-digits"] = {"shown": True} if shown else {"shown": False, "why": "no reason"}
    model, compressor = find_model("vit-digits"), registry.variants()["distil-layers"]
    return session.accuracy(Case("accuracy", "distil-layers", compressor, model, CPU, None, target))


def test_a_record_of_accuracy_holds_the_examples_that_flipped(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(599) % 10
    dense, compressed = labels.copy(), labels.copy()
    dense[7], compressed[11] = 0, 0
    record = recorded(session, monkeypatch, labels, dense, compressed)
    assert record.evidence["label_names"] == [str(digit) for digit in range(10)]
    assert record.evidence["flipped"] == {
        "total": 2,
        "examples": [
            {"row": 7, "label": "7", "dense": "0", "compressed": "7", "text": "digit 7"},
            {"row": 11, "label": "1", "dense": "1", "compressed": "0", "text": "digit 11"},
        ],
    }
    assert "doubt" not in record.evidence


def test_a_dense_model_worse_than_always_the_same_answer_is_doubted(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels matched to outputs in another order: right nowhere, and whatever a method does, it loses nothing."""
    labels = np.arange(599) % 10
    labels[:100] = 3  # the most frequent: 100 and a tenth of the others
    turned = (labels + 1) % 10
    record = recorded(session, monkeypatch, labels, turned, turned)
    assert record.evidence["doubt"] == (
        "the dense model is right on 0.0% of 599, less than the 25.0% that always saying '3' would be: are the labels "
        "in the order of the head's outputs, the inputs those it knows?"
    )


@pytest.mark.parametrize(("right", "nothing"), [(120, "less than the 50.0%"), (155, "not surely more"), (190, None)])
def test_what_chance_alone_may_explain_is_nothing_to_lose(right: int, nothing: str | None) -> None:
    """150 of 300 would be right by one answer."""
    truth = np.repeat([0, 1], 150)
    said = np.where(np.random.default_rng(0).permutation(300) < right, truth, 1 - truth)
    told = no_better_than_one_class(said == truth, truth, said, ("no", "yes"))
    assert (told is None) if nothing is None else (told is not None and nothing in told)


def test_one_answer_to_everything_and_a_test_set_of_one_class_are_nothing() -> None:
    truth, same = np.repeat([0, 1], [190, 10]), np.zeros(200, int)
    told = no_better_than_one_class(truth == 0, truth, same, ("no", "yes"))
    assert told == "the dense model says 'no' to all 200 examples"
    told = no_better_than_one_class(same == 0, same, same, ("no", "yes"))
    assert told == "all 200 test examples are 'no': whoever says so is right"


@pytest.mark.parametrize("shown", [True, False])
def test_beside_nothing_there_is_no_verdict(session: Session, monkeypatch: pytest.MonkeyPatch, shown: bool) -> None:
    """Of a method that loses nothing of what is none, though its bound is stated."""
    labels = np.arange(599) % 10
    wrong = (labels + 1) % 10
    said = labels if not shown else wrong
    record = recorded(session, monkeypatch, labels, said, said, shown=shown, target=Target(accuracy_drop=0.05))
    assert record.verdict == "measured" and record.reason.startswith("no verdict: ")
    assert record.measures["accuracy_drop"].bound is None
    if not shown:
        assert "it is not shown that the dense model is run as its owner would: no reason" in record.reason


def test_a_lost_class_is_told_and_fails_its_bound(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average holds: what one class loses, others gain."""
    labels = np.arange(599) % 10
    dense = np.where(np.arange(599) % 37 == 1, (labels + 1) % 10, labels)
    dense = np.where(labels == 3, labels, dense)
    compressed = np.where(labels == 3, np.where(np.arange(599) % 4 == 1, 5, 3), labels)
    target = Target(accuracy_drop=0.05, worst_class_drop=0.1, agreement=0.5)
    record = recorded(session, monkeypatch, labels, dense, compressed, target=target)
    assert record.measures["accuracy_drop"].verdict == "pass" and record.measures["agreement"].verdict == "pass"
    worst = record.measures["worst_class_drop"]
    assert worst.verdict == "fail" and worst.value is not None and worst.value > 0.4
    assert record.verdict == "fail" and record.evidence["worst_class"] == "3"
    assert "worst class '3': drop 50" in record.reason
    stored = StoredRun(Path("r"), RunHeader(run="r", started=""), (record,), None, ())
    (line,) = summary._collapses(stored)
    assert re.match(
        r"class lost: distil-layers-vit-digits-cpu: 50\.0 \[\d.*\] points of '3', where all classes .*", line
    )


def test_agreement_is_judged_by_its_interval() -> None:
    dense = np.zeros(400, int)
    moved = np.where(np.arange(400) < 20, 1, 0)
    for bound, verdict in ((0.9, "pass"), (0.95, "inconclusive"), (0.99, "fail"), (None, "measured")):
        found = agreement(dense, moved, {"agreement": bound} if bound else {})
        assert found.measures["agreement"].verdict == verdict and found.measures["agreement"].value == 0.95


def test_repetition_is_counted_by_hand() -> None:
    ids = np.array([[1, 2, 3, 4]])
    said = np.array([[2, 1, 3, 9]])  # of 2, 1, 3, 9 only 1 and 3 stood before
    scored = np.array([[True, True, True, True]])
    assert repetition(ids, said, scored) == 0.5
    assert repetition(ids, said, np.array([[True, True, False, False]])) == 0.5
    assert repeated_pieces([[1, 2, 3, 4, 1, 2, 3, 4]]) == 1 / 5
