"""Sets of labels against scikit-learn, and against answers that must not look good."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score

from benchmarks.quality.multi_label import MultiLabel
from compressors.interface import Examples

QUALITY, LABELS = MultiLabel(), ("toxic", "severe", "threat")
EXAMPLES = 1000


def split(rates: tuple[float, ...] = (0.4, 0.3, 0.1), seed: int = 0) -> Examples:
    marks = np.random.default_rng(seed).random((EXAMPLES, len(rates))) < rates
    return Examples(
        {"input_ids": torch.zeros(EXAMPLES, 1, dtype=torch.int64)}, torch.tensor(marks, dtype=torch.float32)
    )


def truth_of(test: Examples) -> np.ndarray:
    assert test.labels is not None
    return test.labels.numpy().astype(np.uint8)


def answers(test: Examples, wrong: float, seed: int = 1) -> dict[str, np.ndarray]:
    truth = truth_of(test)
    return {"predictions": truth ^ (np.random.default_rng(seed).random(truth.shape) < wrong)}


def test_each_label_is_decided_on_its_own_by_its_sigmoid() -> None:
    logits = np.array([[3.0, 2.0, 1.0], [0.3, -0.1, 0.4], [-1.0, -2.0, -3.0], [0.0, 0.6, 0.1]], dtype=np.float32)
    kept = QUALITY.keep(logits, split()[:4])["predictions"]
    assert (kept == (torch.tensor(logits).sigmoid() > 0.5).numpy()).all()
    assert kept.sum(axis=1).tolist() == [3, 2, 0, 2], "several or none: no softmax, and no threshold on the logit"


def test_numbers_are_scikit_learns() -> None:
    test = split()
    dense, after = answers(test, 0.02), answers(test, 0.1, seed=2)
    found, truth = QUALITY.judge(dense, after, test, 0.05), truth_of(test)
    said, was = after["predictions"], dense["predictions"]
    assert found.measures["accuracy"].value == pytest.approx(accuracy_score(truth, said))
    assert found.measures["accuracy_drop"].value == pytest.approx(
        accuracy_score(truth, was) - accuracy_score(truth, said)
    )
    for kind in ("micro", "macro"):
        assert found.measures[f"{kind}_f1"].value == pytest.approx(f1_score(truth, said, average=kind))
        assert found.evidence[f"dense_{kind}_f1"] == pytest.approx(f1_score(truth, was, average=kind))
    assert found.verdict == "fail" and "\n" not in found.reason
    beside = QUALITY.beside(dense, after, test, {"worst_class_drop": 0.02}, LABELS)
    drops = recall_score(truth, was, average=None) - recall_score(truth, said, average=None)
    assert beside.measures["worst_class_drop"].value == pytest.approx(drops.max())
    assert beside.evidence["worst_class"] == LABELS[drops.argmax()] and LABELS[drops.argmax()] in beside.reasons[0]
    assert list(beside.evidence["label_f1"]) == list(LABELS)
    assert list(beside.evidence["label_f1"].values()) == pytest.approx(f1_score(truth, said, average=None))
    assert beside.measures["agreement"].value == pytest.approx((was == said).all(axis=1).mean())


def test_the_same_answers_pass() -> None:
    test = split()
    found = QUALITY.judge(answers(test, 0.02), answers(test, 0.02), test, 0.01)
    assert found.verdict == "pass" and QUALITY.nothing_to_lose(answers(test, 0.02), test, LABELS) is None


def test_who_says_nothing_of_rare_labels_does_not_pass() -> None:
    """Ninety of a hundred texts have no label: a method that never says one loses few points, and everything."""
    test = split((0.05, 0.02, 0.03))
    dense, silent = answers(test, 0.012), {"predictions": np.zeros((EXAMPLES, 3), dtype=np.uint8)}
    drop = QUALITY.judge(dense, silent, test, None).measures["accuracy_drop"].value
    assert drop is not None and drop < 0.08
    assert QUALITY.nothing_to_lose(dense, test, LABELS) is None
    found = QUALITY.judge(dense, silent, test, 0.15)
    assert found.verdict == found.measures["accuracy_drop"].verdict == "inconclusive"
    assert "not surely better than one answer to everything" in found.reason
    assert found.measures["micro_f1"].value == 0


@pytest.mark.parametrize("fault", ["order", "shifted", "silent"])
def test_a_dense_model_that_is_read_wrongly_gets_no_verdict(fault: str) -> None:
    """Columns in another order, labels shifted by a row, no label ever."""
    test = split()
    truth = truth_of(test)
    said = {"order": truth[:, [2, 0, 1]], "shifted": np.roll(truth, 1, axis=0), "silent": np.zeros_like(truth)}[fault]
    told = QUALITY.nothing_to_lose({"predictions": said}, test, LABELS)
    assert told is not None and "\n" not in told
    assert "in the order of the head's outputs" in told or fault != "order"


def test_what_a_person_is_shown() -> None:
    test = split()
    dense, after = answers(test, 0.0), answers(test, 0.0)
    after["predictions"] = after["predictions"].copy()
    row = int(np.flatnonzero(truth_of(test)[:, :2].all(axis=1) & (truth_of(test)[:, 2] == 0))[0])
    after["predictions"][row] = 0
    shown = [{"text": f"text {n}"} for n in range(EXAMPLES)]
    told = QUALITY.examples_told(dense, after, test, LABELS, shown)["flipped"]
    assert told["total"] == 1
    assert told["examples"] == [
        {"row": row, "label": "toxic + severe", "dense": "toxic + severe", "compressed": "no label",
         "text": f"text {row}"}
    ]  # fmt: skip
    assert QUALITY.unsteadiness(dense, after)[0] == {"examples": EXAMPLES, "flips": 1}
    veiled = QUALITY.veiled(test, test).labels
    assert veiled is not None and not veiled.any()
