"""Text by forward passes: the tokens that transformers' own generation says, on every runtime; scores by hand."""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parent))
from tiny_translators import (
    END,
    KINDS,
    NEW,
    ROWS,
    RULES,
    UNKNOWN,
    VOCABULARY,
    forward_of,
    generated,
    sources,
    spec,
    translator,
    write_tokenizer,
)

from benchmarks.measure import stages
from benchmarks.quality.text_generation import TextGeneration
from benchmarks.quality.text_scores import corpus_chrf, sentence_scores
from benchmarks.zoo.dense import write_examples
from compressors import artifact
from compressors.interface import NOT_SCORED, Examples, Hardware, PressbenchError, no_progress
from compressors.runtimes.export import to_onnx, to_openvino
from compressors.runtimes.program import attention_as, example_inputs

HARDWARE = Hardware("cpu", "cpu-avx2")
EXPORTS: dict[str, tuple[Any, dict[str, str]]] = {
    "onnxruntime": (to_onnx, {}),
    "openvino": (to_openvino, {"precision": "fp32"}),
}
EXPORTED = (("marian", "openvino"), ("t5", "onnxruntime"))
"""An export takes up to a quarter of a minute: these two have all that is particular to a kind or a runtime."""


def quality(kind: str = "t5", tokenizer: str = "nowhere", **more: Any) -> TextGeneration:
    fields = {"metric": "chrf", "new_tokens": NEW, "end_tokens": (END,), "tokenizer": tokenizer, "rules": RULES[kind]}
    return TextGeneration(**{**fields, **more})


Stored = Callable[..., stages.State]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """(kind, runtime) -> the tiny model, saved for a runtime and loaded as a worker does; made once."""
    made: dict[tuple[str, str], stages.State] = {}

    def get(kind: str, runtime: str = "torch") -> stages.State:
        if (kind, runtime) not in made:
            folder, model, state = tmp_path_factory.mktemp(f"{kind}-{runtime}"), translator(kind), stages.State()
            export, options = EXPORTS.get(runtime, (None, {}))
            graph = export(model, spec(kind)) if export else model
            artifact.save(graph, folder / "model", spec(kind), runtime_name=runtime, options=options)
            stages.load(state, folder / "model", HARDWARE)
            made[kind, runtime] = state
        return made[kind, runtime]

    return get


def answers(state: stages.State, kind: str, folder: Path, batch: int = 4) -> dict[str, np.ndarray]:
    write_examples(sources(kind), folder / "test.safetensors")
    return stages.answer(state, quality(kind), folder / "test.safetensors", batch, progress=no_progress)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_transformers_own_generation(kind: str, stored: Stored, tmp_path: Path) -> None:
    found = answers(stored(kind), kind, tmp_path)["tokens"]
    assert found.shape == (ROWS, NEW) and found.dtype == np.int32
    lengths = (found != NOT_SCORED).sum(axis=1)
    assert len(set(lengths.tolist())) >= 3 and lengths.max() == NEW, "early, late and no end must all occur"
    assert len({tuple(row) for row in found.tolist()}) >= 4
    np.testing.assert_array_equal(found, generated(kind, sources(kind)))


@pytest.mark.parametrize(("kind", "runtime"), EXPORTED)
def test_every_runtime_says_the_same(kind: str, runtime: str, stored: Stored, tmp_path: Path) -> None:
    found = answers(stored(kind, runtime), kind, tmp_path)["tokens"]
    np.testing.assert_array_equal(found, generated(kind, sources(kind)))


@pytest.mark.parametrize(("kind", "runtime"), EXPORTED)
def test_one_exported_graph_serves_every_length_on_both_sides(kind: str, runtime: str, stored: Stored) -> None:
    """Within what torch itself is off from float64: on some inputs a model of random weights multiplies rounding."""
    forward, single = stored(kind, runtime)["forward"], forward_of(translator(kind))
    double = forward_of(copy.deepcopy(translator(kind)).double())
    for batch, sequence, decoder in ((1, 2, 1), (2, 16, 8), (5, 9, 13), (3, 16, 2), (1, 2, 1)):
        inputs = {n: v.numpy() for n, v in _inputs(kind, batch, sequence, decoder).items()}
        found, usual, exact = forward(inputs), single(inputs), double(inputs)
        assert found.shape == exact.shape == (batch, decoder, VOCABULARY)
        allowed = 2e-5 * np.abs(exact).max() + 3 * np.abs(usual - exact).max()
        assert np.abs(found - exact).max() < allowed < 0.01 * np.abs(exact).max(), (batch, sequence, decoder)


def _inputs(kind: str, batch: int, sequence: int, decoder: int) -> dict[str, torch.Tensor]:
    """Made-up inputs, the last source text padded."""
    found = example_inputs(spec(kind), batch=batch, sequence=sequence, decoder_sequence=decoder)
    found["attention_mask"][-1, 1:] = 0
    return found


def test_an_export_leaves_the_model_as_it_was() -> None:
    model: Any = translator("t5")
    before = model.config._attn_implementation
    with pytest.raises(ZeroDivisionError), attention_as(model, "eager"):
        assert model.config._attn_implementation == "eager" != before
        raise ZeroDivisionError
    assert model.config._attn_implementation == before


def test_the_size_of_a_batch_changes_nothing(stored: Stored, tmp_path: Path) -> None:
    state = stored("t5")
    usual, other = (answers(state, "t5", tmp_path, batch) for batch in (1, ROWS))
    np.testing.assert_array_equal(usual["tokens"], other["tokens"])
    assert quality().unsteadiness(usual, other) == ({"examples": ROWS, "flips": 0}, f"0 of {ROWS} texts differ")


@pytest.mark.parametrize("step", [1, 3])
def test_a_pass_that_is_not_finite_is_told_by_its_example(step: int, tmp_path: Path) -> None:
    write_examples(sources("t5"), tmp_path / "test.safetensors")
    forward = forward_of(translator("t5"))

    def broken(inputs: Any) -> np.ndarray:
        logits = forward(inputs).copy()
        if logits.shape[1] == step and len(logits) == 4:
            logits[2, 0, 7] = math.nan
        return logits

    with pytest.raises(PressbenchError, match=f"NaN or infinite for 2 of {ROWS} examples, first at 2"):
        stages.answer({"forward": broken}, quality(), tmp_path / "test.safetensors", 4, progress=no_progress)


# -- scores ----------------------------------------------------------------------------------------

TEXTS = ["the cat sat on the mat", "a cat sat", "", "the the the the", "Grüße aus Köln", "x"]
REFERENCES = ["the cat sat on a mat", "a cat sat", "a text", "the cat", "Grüsse aus Köln", "something else"]


def chrf(text: str, reference: str) -> float:
    """chrF2 by hand (Popović 2015): F of mean precision and mean recall of n-grams of 1 to 6, spaces left out."""
    precisions, recalls = [], []
    for n in range(1, 7):
        one, other = (Counter(t[i : i + n] for i in range(len(t) - n + 1)) for t in map(_joined, (text, reference)))
        if one and other:
            both = sum((one & other).values())
            precisions.append(both / sum(one.values()))
            recalls.append(both / sum(other.values()))
    if not precisions or not sum(precisions) + sum(recalls):
        return 0.0
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * p * r / (4 * p + r)


def _joined(text: str) -> str:
    return "".join(text.split())


def rouge_l(text: str, reference: str) -> float:
    """The F-measure of the longest common subsequence of words (Lin 2004)."""
    one, other = text.lower().split(), reference.lower().split()
    table = np.zeros((len(one) + 1, len(other) + 1))
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    longest = table[-1, -1]
    return 2 * longest / (len(one) + len(other)) if longest else 0.0


def test_chrf_is_that_of_its_definition() -> None:
    found = sentence_scores("chrf", TEXTS, REFERENCES)
    assert found == pytest.approx([chrf(a, b) for a, b in zip(TEXTS, REFERENCES, strict=True)], abs=1e-9)
    assert found[1] == pytest.approx(1.0) and found[2] == 0.0
    assert corpus_chrf(REFERENCES, REFERENCES) == pytest.approx(1.0)


def test_rouge_l_is_that_of_its_definition() -> None:
    plain = [i for i, text in enumerate(TEXTS) if text.isascii()]
    found = sentence_scores("rougeL", [TEXTS[i] for i in plain], [REFERENCES[i] for i in plain])
    assert found == pytest.approx([rouge_l(TEXTS[i], REFERENCES[i]) for i in plain], abs=1e-9)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def references(rows: int = 240) -> tuple[Examples, dict[str, np.ndarray]]:
    """References of 5 to 9 words with an end, and answers that say them exactly."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, VOCABULARY, (rows, 10)).astype(np.int32)
    lengths = rng.integers(5, 10, rows)
    tokens[np.arange(rows), lengths] = END
    tokens[np.arange(10)[None] > lengths[:, None]] = NOT_SCORED
    ids = torch.zeros(rows, 2, dtype=torch.int64)
    return Examples({"input_ids": ids}, torch.from_numpy(tokens.astype(np.int64))), {"tokens": tokens}


def damaged(answers: dict[str, np.ndarray], share: float, seed: int = 1) -> dict[str, np.ndarray]:
    """Answers of which a share of the words is another one."""
    rng, tokens = np.random.default_rng(seed), answers["tokens"].copy()
    words = (tokens != NOT_SCORED) & (tokens != END) & (rng.random(tokens.shape) < share)
    tokens[words] = rng.integers(3, VOCABULARY, int(words.sum()))
    return {"tokens": tokens}


@pytest.mark.parametrize("metric", ["chrf", "rougeL"])
def test_a_model_is_judged_by_the_mean_score_of_its_texts(metric: str, tokenizer: str) -> None:
    test, exact = references()
    dense, worse = damaged(exact, 0.05), damaged(exact, 0.4, seed=2)
    scorer = quality(tokenizer=tokenizer, metric=metric)
    found = scorer.judge(dense, worse, test, 0.02)
    one = {"chrf": chrf, "rougeL": rouge_l}[metric]

    def texts(tokens: np.ndarray) -> list[str]:
        return [" ".join(f"word{i}" for i in row if i not in (NOT_SCORED, END)) for row in tokens]

    assert test.labels is not None
    wanted = texts(test.labels.numpy())
    before, after = ([one(a, b) for a, b in zip(texts(x["tokens"]), wanted, strict=True)] for x in (dense, worse))
    score, drop = found.measures["score"], found.measures["score_drop"]
    assert score.value == pytest.approx(np.mean(after)) and drop.value == pytest.approx(
        np.mean(before) - np.mean(after)
    )
    assert score.low is not None and score.high is not None and score.low < np.mean(after) < score.high
    assert found.verdict == "fail" and drop.bound == 0.02 and "\n" not in found.reason
    assert found.reason.startswith({"chrf": "chrF", "rougeL": "ROUGE-L"}[metric] + " drop ")
    assert found.evidence[metric] == pytest.approx(after) and found.evidence[f"dense_{metric}"] == pytest.approx(before)
    assert found.evidence["examples"] == 240 and found.evidence["characters"] == [len(text) for text in wanted]
    assert ("corpus_chrf" in found.evidence) == (metric == "chrf") == ("of all texts together" in found.reason)
    assert scorer.judge(dense, dense, test, 0.02).verdict == "pass"
    assert scorer.judge(exact, exact, test, None).measures["score"].value == pytest.approx(1.0)


def test_texts_that_changed_are_told_with_the_reference(tokenizer: str) -> None:
    test, exact = references()
    worse = {"tokens": exact["tokens"].copy()}
    worse["tokens"][3, 0] = 7
    shown = [{"text": f"source {row}"} for row in range(240)]
    told = quality(tokenizer=tokenizer).examples_told(exact, worse, test, (), shown)["flipped"]
    assert (told["total"], told["lost"], told["gained"]) == (1, 1, 0)
    (example,) = told["examples"]
    assert (example["row"], example["kind"], example["text"]) == (3, "lost", "source 3")
    assert example["dense"] == example["label"] and example["compressed"].startswith("word7 word")
    assert "</s>" not in str(example)


def test_where_nothing_of_the_data_may_be_shown_no_text_is_told(tokenizer: str) -> None:
    test, exact = references()
    told = quality(tokenizer=tokenizer).examples_told(exact, damaged(exact, 0.3), test, (), [{}] * 240)["flipped"]
    assert told["total"] > 40 and len(told["examples"]) == 40 and "word" not in str(told)
    assert told["examples"][0]["dense"] == "chrF 100.0" and "characters" in told["examples"][0]["label"]


def test_what_a_reference_cannot_spell_and_texts_without_end_are_counted(tokenizer: str) -> None:
    test, exact = references()
    assert test.labels is not None
    labels = test.labels.clone()
    labels[:4, 0] = UNKNOWN
    endless = {"tokens": np.where(exact["tokens"] == END, 9, exact["tokens"])}
    found = quality(tokenizer=tokenizer).judge(exact, endless, Examples(test.inputs, labels), None).evidence
    assert (found["references_with_unknown"], found["dense_without_end"], found["without_end"]) == (4, 0, 240)


def test_a_tokenizer_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    test, exact = references()
    for folder, told in (("bert-base-cased", "no such folder"), (str(tmp_path), "no tokenizer can be read there: ")):
        with pytest.raises(PressbenchError, match=told) as caught:
            quality(tokenizer=folder).judge(exact, exact, test, None)
        assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)


def test_it_can_be_sent_to_a_worker_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = quality(metric="rougeL")
    assert pickle.loads(pickle.dumps(scorer)) == scorer  # noqa: S301
    assert scorer.bound == "score_drop" and scorer.resolves(199, 0.01) and not scorer.resolves(200, 0.01)
    assert (scorer.hub_task(()), quality().hub_task(())) == ("summarization", "translation")
    assert scorer.missing() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    hint = 'pip install -c constraints.txt -e ".[text]"'
    assert scorer.missing() == f"scoring needs a package that is not installed: {hint}"
    assert (quality().missing() or "").endswith('pip install -c constraints.txt -e ".[text]"')
