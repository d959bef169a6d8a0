"""A language model with a tokenizer of its own is judged by the surprise a byte of the same texts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from benchmarks.cache import Cache
from benchmarks.matrix.artifacts import by_options
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.quality.language_modelling import LanguageModelling
from benchmarks.zoo.own import as_read
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.workload import decode, prefill
from compressors import registry
from compressors.interface import Examples, Hardware, PressbenchError, Unsupported

sys.path.append(str(Path(__file__).parent))
from own_folders import tiny_models, understood

WORDS = (*tiny_models.SPECIAL, *reversed(tiny_models.VOCABULARY[len(tiny_models.SPECIAL) :]), "more")


def letters() -> transformers.PreTrainedTokenizerFast:
    """A token a byte, between the tokens that stand around a text in `tiny_models`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {name: number for number, name in enumerate((*tiny_models.SPECIAL, *alphabet))}
    made = Tokenizer(models.BPE(ids, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.normalizer = normalizers.Lowercase()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def language_model(folder: Path, vocabulary: int, positions: int = 256) -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=positions, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.fixture
def dense(tmp_path: Path) -> OwnModel:
    tiny_models.writer(tmp_path / "writer")
    rows = [[text] for text, _ in tiny_models.reviews(300)]
    tiny_models.write_csv(tmp_path / "texts.csv", ("text",), rows)
    return understood(tmp_path, model="writer", data="texts.csv", task="causal-lm")


def other(dense: OwnModel, at: Path, name: str = "other") -> OwnModel:
    (found,) = by_options([name], [dense], at, Cache(at / "cache"))[dense.name].values()
    assert isinstance(found.asked, OwnModel)
    return found.asked


def answers(model: OwnModel, folder: Path, cache: Cache) -> dict[str, np.ndarray]:
    """To the test texts, as the suite asks and keeps them."""
    test = model.encode(datasets.load_from_disk(str(model.task.entry / "splits"))["test"], cache)
    with torch.inference_mode():
        logits = transformers.LlamaForCausalLM.from_pretrained(folder).eval()(**test.inputs).logits.numpy()
    return dict(model.task.quality.keep(logits, test))


def judged(dense: OwnModel, asked: OwnModel, at: Path, name: str = "other", bound: float | None = 0.02) -> Any:
    cache = Cache(at / "cache")
    before, after = answers(dense, at / "writer", cache), answers(asked, at / name, cache)
    test = dense.encode(datasets.load_from_disk(str(dense.task.entry / "splits"))["test"], cache)
    assert asked.task.quality.judges and not dense.task.quality.judges
    return asked.task.quality.judge(before, after, test, bound), before, after


def test_the_same_model_by_other_numbers_loses_nothing(tmp_path: Path, dense: OwnModel) -> None:
    """Its table of tokens is in another order, and has a word more: read by the dense model's tokenizer it would be no
    better than chance."""
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "writer")
    moved = language_model(tmp_path, len(WORDS))
    moved = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**model.config.to_dict(), "vocab_size": len(WORDS)})
    )
    state, order = model.state_dict(), [tiny_models.VOCABULARY.index(w) for w in WORDS[:-1]]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name][order], torch.zeros(1, state[name].shape[1])])
    moved.load_state_dict(state)
    tiny_models.save(moved, tmp_path / "other", WORDS)
    scored, before, after = judged(dense, other(dense, tmp_path), tmp_path)
    # A word more to choose from, whose logit is nought, where those of the others are small, too.
    share = np.log1p(1 / len(WORDS))
    assert after["nll"].sum() == pytest.approx(before["nll"].sum() + share * before["tokens"].sum(), rel=2e-3)
    assert scored.measures["perplexity_rise"].value == pytest.approx(np.expm1(share), rel=0.1)
    assert "perplexity" not in scored.measures, "at its own tokens, beside the dense model's at others"


def test_bits_a_byte_are_those_counted_by_hand(tmp_path: Path, dense: OwnModel) -> None:
    """Of models that find every token as likely as any other: the logarithm of how many there are, for each token."""
    words, tokenizer = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "writer"), letters()
    bytes_ = language_model(tmp_path, len(tokenizer))
    for model, folder in ((words, "writer"), (bytes_, "other")):
        with torch.no_grad():
            model.lm_head.weight.zero_()
        model.save_pretrained(tmp_path / folder)
    tokenizer.save_pretrained(tmp_path / "other")
    dense = understood(tmp_path, model="writer", data="texts.csv", task="causal-lm")
    scored, _, _ = judged(dense, other(dense, tmp_path), tmp_path)
    texts = datasets.load_from_disk(str(dense.task.entry / "splits"))["test"]["text"]
    size = sum(len(text.encode()) for text in texts)
    # One for each word or letter and one that ends the text; the first, which begins it, is given.
    counts = sum(len(text.split()) + 1 for text in texts), sum(len(text.encode()) + 1 for text in texts)
    wanted = [n * np.log2(len(v)) / size for n, v in zip(counts, (tiny_models.VOCABULARY, tokenizer), strict=True)]
    assert scored.evidence["dense_bits_per_byte"] == pytest.approx(wanted[0], rel=1e-6)
    assert scored.measures["bits_per_byte"].value == pytest.approx(wanted[1], rel=1e-6)
    rise = 2 ** ((wanted[1] - wanted[0]) * size / counts[0]) - 1
    assert scored.measures["perplexity_rise"].value == pytest.approx(rise, rel=1e-4)
    assert scored.verdict == "fail"


def test_as_much_of_a_text_is_read_as_the_dense_model_reads(tmp_path: Path) -> None:
    tiny_models.writer(tmp_path / "writer")
    rows = [["the film was good and the plot was " + text] for text, _ in tiny_models.reviews(300)]
    tiny_models.write_csv(tmp_path / "texts.csv", ("text",), rows)
    dense = understood(tmp_path, model="writer", data="texts.csv", task="causal-lm", tokens=6)
    tokenizer = letters()
    language_model(tmp_path, len(tokenizer)).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    asked, read = other(dense, tmp_path), "the film was good"
    test = asked.encode(datasets.load_from_disk(str(asked.task.entry / "splits"))["test"], Cache(tmp_path / "cache"))
    assert test.inputs["input_ids"].shape[1] == len(read) + 2
    assert tokenizer.decode(test.inputs["input_ids"][0], skip_special_tokens=True) == read
    assert set(asked.task.settings["lengths"][0]) == {len(read)}


def test_bytes_that_are_scored_are_those_after_the_first_token() -> None:
    bare = letters()
    bare.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert as_read.scored_bytes(bare, ["abc", "é!"]) == [2, 1]
    assert as_read.scored_bytes(letters(), ["abc", "é!"]) == [3, 3]
    assert as_read.as_read(bare, ["abc", "a"], 2) == ["ab", "a"]
    assert not as_read.ends_a_text(bare) and as_read.ends_a_text(letters())
    assert as_read.lost(letters(), ["abc", "aBc", "é  !"]) == [1], "which has no capitals"
    assert as_read.lost(tiny_models.tokenizer(), ["the film", "the unheard film"]) == [1]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            "words",
            r"other: its tokens do not hold all of \d+ of 300 texts, first .*bits per byte would be of two texts",
        ),
        ("positions", r"is up to \d+ of its own, and it has positions for 24: say tokens = \d+"),
        ("ends", "other: of it and writer one alone puts a token behind every text"),
        ("joined", "other: joined texts are cut into windows of writer's tokens: leave out join"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path: Path, dense: OwnModel, what: str, told: str) -> None:
    tokenizer: Any = tiny_models.tokenizer(WORDS[:20]) if what == "words" else letters()
    if what == "ends":
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if what == "joined":
        dense = understood(tmp_path, model="writer", data="texts.csv", task="causal-lm", join=" ", tokens=8)
    language_model(tmp_path, len(tokenizer), 24 if what == "positions" else 256).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(PressbenchError, match=told):
        other(dense, tmp_path)


def test_agreement_by_token_has_no_meaning_and_work_is_that_of_the_same_texts(tmp_path: Path, dense: OwnModel) -> None:
    tokenizer = letters()
    language_model(tmp_path, len(tokenizer)).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    asked = other(dense, tmp_path)
    _, before, after = judged(dense, asked, tmp_path)
    test = dense.encode(datasets.load_from_disk(str(dense.task.entry / "splits"))["test"], Cache(tmp_path / "cache"))
    with pytest.raises(Unsupported, match="agreement by token is asked for"):
        asked.task.quality.beside(before, after, test, {"agreement": 0.5}, ())
    assert asked.task.quality.beside(before, after, test, {}, ()).measures == {}
    assert asked.task.quality.unlike(before, after, ()) is None
    cpu = Hardware("cpu", "cpu-other")
    case = Case(
        "speed", "x", registry.build("dense"), dense, cpu, decode(1, 8, 4), Target(), replace(asked, tokens_made=3.0)
    )
    assert case.own_workload(decode(1, 8, 4)) == decode(1, 24, 12)
    assert case.own_workload(prefill(1, 8)) == prefill(1, 24)


def test_a_first_token_that_holds_more_of_a_text_is_no_gain() -> None:
    """Of two models that find every byte as likely, one is given more of each text."""
    lengths = tuple((20 + i % 3, 12 + i % 5) for i in range(60))
    ours, own = np.array(lengths).T
    tokens = np.full(60, 5)
    dense, compressed = {"nll": ours * 0.7, "tokens": tokens}, {"nll": own * 0.7, "tokens": tokens * 3}
    scored = LanguageModelling(lengths).judge(dense, compressed, Examples({}, None), 0.02)
    assert scored.measures["perplexity_rise"].value == pytest.approx(0.0, abs=1e-9)
    assert scored.measures["bits_per_byte"].value == pytest.approx(0.7 / np.log(2))
    assert scored.verdict == "pass"
    compressed["nll"] = own * 0.8
    worse = LanguageModelling(lengths).judge(dense, compressed, Examples({}, None), 0.02)
    assert worse.measures["perplexity_rise"].value == pytest.approx(np.expm1(0.1 * ours.sum() / tokens.sum()))
