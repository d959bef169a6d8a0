"""Labels of words: the share of all words, entities as conlleval counts them, and sentences that changed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import transformers

from benchmarks.quality.entities import are_tags, entities, f1
from benchmarks.quality.token_classification import TokenClassification
from compressors.interface import NOT_SCORED, Examples

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
QUALITY = TokenClassification(TAGS)
SENTENCES, TOKENS = 240, 20


@pytest.fixture(scope="module")
def split() -> Examples:
    """Sentences of 1 to 20 pieces, every third of which continues a word."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(TAGS), (SENTENCES, TOKENS))
    labels[:, 1::3] = NOT_SCORED
    labels[np.arange(TOKENS) >= rng.integers(1, TOKENS + 1, SENTENCES)[:, None]] = NOT_SCORED
    return Examples({"input_ids": torch.zeros(SENTENCES, TOKENS, dtype=torch.int64)}, torch.from_numpy(labels))


def answers(split: Examples, wrong: float, seed: int = 1) -> dict[str, np.ndarray]:
    """Predictions of which a share is another label than the right one."""
    assert split.labels is not None
    truth, rng = split.labels.numpy(), np.random.default_rng(seed)
    other = np.where(rng.random(truth.shape) < wrong, (truth + rng.integers(1, 5, truth.shape)) % 5, truth)
    return {"predictions": np.where(truth == NOT_SCORED, NOT_SCORED, other).astype(np.int32)}


def test_what_is_kept_is_the_likeliest_label_of_each_word() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=5
    )
    model = transformers.BertForTokenClassification(config).eval()
    ids = torch.randint(0, 50, (3, 6))
    labels = torch.tensor([[0, NOT_SCORED, 1, 2, NOT_SCORED, NOT_SCORED]] * 3)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    kept = QUALITY.keep(logits.numpy(), Examples({"input_ids": ids}, labels))["predictions"]
    for row in range(3):
        for token in range(6):
            scored = labels[row, token] != NOT_SCORED
            assert kept[row, token] == (int(logits[row, token].argmax()) if scored else NOT_SCORED)


def test_accuracy_is_the_share_of_all_words(split: Examples) -> None:
    assert split.labels is not None
    truth = split.labels.numpy()
    dense, compressed = answers(split, 0.05), answers(split, 0.2, seed=2)
    found = QUALITY.judge(dense, compressed, split, 0.05)
    right = {n: [] for n in ("dense", "compressed")}
    for name, said in (("dense", dense), ("compressed", compressed)):
        for row in range(SENTENCES):
            right[name].append(
                sum(1 for a, b in zip(said["predictions"][row], truth[row], strict=True) if b != NOT_SCORED and a == b)
            )
    words = int((truth != NOT_SCORED).sum())
    accuracy = found.measures["accuracy"]
    assert accuracy.value == pytest.approx(sum(right["compressed"]) / words)
    assert found.measures["accuracy_drop"].value == pytest.approx(
        (sum(right["dense"]) - sum(right["compressed"])) / words
    )
    assert accuracy.low is not None and accuracy.high is not None
    assert accuracy.low < sum(right["compressed"]) / words < accuracy.high < 1
    assert found.verdict == "fail" and found.reason.startswith("accuracy drop ")
    assert f"{words} words; F1 of entities " in found.reason and "\n" not in found.reason
    assert found.evidence["right"] == right["compressed"] and found.evidence["dense_right"] == right["dense"]
    assert sum(found.evidence["words"]) == words and found.evidence["examples"] == SENTENCES


def test_the_same_answers_pass_only_where_so_many_sentences_can_show_it(split: Examples) -> None:
    same = answers(split, 0.1)
    found = QUALITY.judge(same, same, split, 0.05)
    assert (found.verdict, found.measures["accuracy_drop"].value) == ("pass", 0.0)
    assert QUALITY.judge(same, same, split, 0.01).verdict == "inconclusive"
    assert QUALITY.resolves(199, 0.05) == "199 examples cannot carry a verdict on scores: needs 200"
    assert QUALITY.resolves(200, 0.05) is None


def test_sentences_of_one_topic_are_not_counted_as_so_many_words(split: Examples) -> None:
    """A model that gets whole sentences right or wrong: the interval is that of sentences."""
    assert split.labels is not None
    truth = split.labels.numpy()
    lost = np.random.default_rng(3).random((SENTENCES, 1)) < 0.2
    said = np.where(truth == NOT_SCORED, truth, np.where(lost, (truth + 1) % 5, truth))
    accuracy = QUALITY.judge({"predictions": truth}, {"predictions": said}, split, None).measures["accuracy"]
    assert accuracy.low is not None and accuracy.high is not None
    by_words = 1.96 * (0.2 * 0.8 / (truth != NOT_SCORED).sum()) ** 0.5
    assert accuracy.high - accuracy.low > 2 * 2 * by_words


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O B-PER I-PER O B-LOC", {("PER", 1, 2), ("LOC", 4, 4)}),
        ("B-PER B-PER I-PER", {("PER", 0, 0), ("PER", 1, 2)}),
        ("I-PER I-PER O I-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),  # as conlleval: it begins one
        ("B-PER I-LOC I-LOC", {("PER", 0, 0), ("LOC", 1, 2)}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags: str, wanted: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == wanted


def test_f1_is_that_of_seqeval() -> None:
    """Numbers by seqeval 1.2.2, whose default mode is conlleval's, on the same sentences of random tags."""
    for seed, wanted in enumerate(
        [0.16548463357, 0.192560175055, 0.206315789474, 0.146226415094, 0.15668202765, 0.183908045977]
    ):
        draw = random.Random(seed)
        truth, said = ([draw.choices(TAGS, (4, 2, 3, 1, 1), k=n) for n in range(1, 30)] for _ in range(2))
        assert f1(truth, said) == pytest.approx(wanted, abs=1e-9)


def test_f1_by_hand(split: Examples) -> None:
    truth = [["O", "B-PER", "I-PER"], ["B-LOC", "O"]]
    assert f1(truth, [["O", "B-PER", "O"], ["B-LOC", "B-PER"]]) == pytest.approx(2 * 1 / (2 + 3))
    assert f1(truth, truth) == 1 and f1([["O"]], [["O"]]) == 0
    found = QUALITY.judge(answers(split, 0.0), answers(split, 0.3), split, None)
    assert found.evidence["dense_f1"] == 1
    assert found.measures["f1"].value is not None and found.measures["f1"].value < 0.8


def test_where_labels_are_no_tags_there_is_no_f1(split: Examples) -> None:
    assert are_tags(TAGS) and not are_tags(("NOUN", "VERB")) and not are_tags(("O",)) and not are_tags(())
    for labels in ((), ("DET", "NOUN", "VERB", "ADJ", "X")):
        found = TokenClassification(labels).judge(answers(split, 0.1), answers(split, 0.2), split, None)
        assert "f1" not in found.measures and "F1" not in found.reason


def test_sentences_without_words_are_left_out(split: Examples) -> None:
    assert split.labels is not None
    labels = split.labels.clone()
    labels[:5] = NOT_SCORED
    found = QUALITY.judge(answers(split, 0.0), answers(split, 0.1), Examples(split.inputs, labels), None)
    assert found.evidence["examples"] == SENTENCES - 5 and min(found.evidence["words"]) >= 1


def test_the_sentences_that_changed_are_told(split: Examples) -> None:
    dense, compressed = answers(split, 0.0), answers(split, 0.0)
    compressed["predictions"] = compressed["predictions"].copy()
    row = int(np.flatnonzero((compressed["predictions"] != NOT_SCORED).sum(axis=1) > 3)[0])
    compressed["predictions"][row, 0] = (compressed["predictions"][row, 0] + 1) % 5
    shown = [{"text": f"sentence {n}"} for n in range(SENTENCES)]
    told = QUALITY.examples_told(dense, compressed, split, TAGS, shown)["flipped"]
    assert (told["total"], told["lost"], told["gained"]) == (1, 1, 0)
    words = int((dense["predictions"][row] != NOT_SCORED).sum())
    assert told["examples"] == [
        {"row": row, "kind": "lost", "label": f"{words} words", "dense": f"{words} right",
         "compressed": f"{words - 1} right", "text": f"sentence {row}"}
    ]  # fmt: skip
    found, said = QUALITY.unsteadiness(dense, compressed)
    assert found["flips"] == 1 and said.startswith("1 of ")
    assert QUALITY.hub_task(("input_ids",)) == "token-classification"
