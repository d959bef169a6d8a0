"""Each kind of task, on a tiny model that was saved as people save them: what is fed and scored is what transformers,
used by itself, makes of the same files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from benchmarks.cache import Cache
from benchmarks.hardware import select
from benchmarks.matrix.cases import expand
from benchmarks.matrix.selection import additions
from benchmarks.measure import stages
from benchmarks.zoo.dense import Dense, prepare_dense
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.kind import kinds
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import understand
from compressors.interface import NOT_SCORED, no_progress
from compressors.registry import variants

sys.path.append(str(Path(__file__).parents[3]))
import tiny_models
from tiny_models import reviews, write_csv


class Prepared:
    """A declared model, understood and made dense."""

    def __init__(self, folder: Path, **values: Any) -> None:
        cache = Cache(folder / "cache")
        self.model: OwnModel = understand(declare("own", "zoo.toml: [own]", folder, values), cache)
        self.rows = self.model.task.load(cache)
        made = folder / "dense"
        made.mkdir()
        prepare_dense(self.model, cache, select("cpu"), no_progress, made)
        self.dense = Dense(made)
        (made / "seal.json").write_text("{}")
        self.test = self.dense.test()

    def answers(self) -> Mapping[str, np.ndarray]:
        """What the quality keeps of the artifact, loaded back from disk."""
        state = {"forward": self.dense.artifact.load()}
        quality = self.model.task.quality
        return stages.answer(state, quality, self.dense.inputs_path, 4, progress=no_progress)

    def scored(self) -> Any:
        answers = self.answers()
        return self.model.task.quality.judge(answers, answers, self.test, None)


def test_every_kind_is_here() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert set(kinds()) <= tested


def _csv(folder: Path, count: int = 120) -> Path:
    rows = [[text, ("negative", "positive")[label]] for text, label in reviews(count)]
    return write_csv(folder / "reviews.csv", ("review", "sentiment"), rows)


def test_text_classification(tmp_path: Path) -> None:
    tiny_models.trained_classifier(tmp_path / "model")
    _csv(tmp_path)
    found = Prepared(tmp_path, model="model", data="reviews.csv")
    pipeline = transformers.pipeline("text-classification", str(tmp_path / "model"), device="cpu")
    said = [answer["label"] for answer in pipeline(found.rows["test"]["text"][:])]
    assert [("negative", "positive")[i] for i in found.answers()["predictions"]] == said
    truth = [("negative", "positive")[label] for label in found.rows["test"]["label"]]
    right = np.mean([a == b for a, b in zip(said, truth, strict=True)])
    assert found.scored().measures["accuracy"].value == right > 0.8
    assert found.dense.shown()[0] == {"text": found.rows["test"]["text"][0]}


def test_texts_that_must_not_be_quoted(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    _csv(tmp_path)
    found = Prepared(tmp_path, model="model", data="reviews.csv", quote=False)
    assert len(found.dense.shown()) == 60 and not any(found.dense.shown())


def test_pairs_of_texts(tmp_path: Path) -> None:
    """In the order of the columns, with types of tokens."""
    tiny_models.classifier(tmp_path / "model")
    texts = [text for text, _ in reviews(80)]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    rows = [[second, first, number % 2] for number, (first, second) in enumerate(pairs)]
    write_csv(tmp_path / "pairs.csv", ("hypothesis", "premise", "label"), rows)
    found = Prepared(tmp_path, model="model", data="pairs.csv")
    assert found.model.understood["columns"] == {"text": "premise", "second": "hypothesis", "label": "label"}
    row = found.rows["test"][0]
    encoded = tiny_models.tokenizer()(row["text"], row["second"], return_token_type_ids=True)
    kept = found.test.inputs["attention_mask"][0].bool()
    for name in ("input_ids", "token_type_ids"):
        assert found.test.inputs[name][0][kept].tolist() == encoded[name]
    assert encoded["token_type_ids"][-1] == 1


test_multi_label_classification = None
"""In test_several_labels.py."""


def test_token_classification(tmp_path: Path) -> None:
    tiny_models.tagger(tmp_path / "model")
    kind = {**dict.fromkeys(tiny_models.GOOD, "B-GOOD"), **dict.fromkeys(tiny_models.BAD, "B-BAD")}
    lines = []
    for text, _ in reviews(120):
        words = text.split()
        lines.append(json.dumps({"tokens": words, "ner_tags": [kind.get(word, "O") for word in words]}))
    (tmp_path / "tagged.jsonl").write_text("\n".join(lines))
    found = Prepared(tmp_path, model="model", data="tagged.jsonl")
    row, labels = found.rows["test"][0], found.test.labels
    assert labels is not None
    scored = labels[0] != NOT_SCORED
    assert labels[0][scored].tolist() == row["tags"] and len(row["tags"]) == len(row["words"])
    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    encoded = tiny_models.tokenizer()(row["words"], is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        said = model(**encoded).logits[0].argmax(-1)[1:-1]
    assert found.answers()["predictions"][0][scored.numpy()].tolist() == said.tolist()
    assert {"accuracy", "f1"} <= found.scored().measures.keys()


def test_causal_lm(tmp_path: Path) -> None:
    tiny_models.writer(tmp_path / "model")
    _csv(tmp_path, 240)
    found = Prepared(tmp_path, model="model", data="reviews.csv", columns={"text": "review"})
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    answers = found.answers()
    for number in (0, 5):
        ids = tiny_models.tokenizer()(found.rows["test"]["text"][number], return_tensors="pt").input_ids
        with torch.inference_mode():
            loss = model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        assert answers["nll"][number] == pytest.approx(loss, rel=1e-5)
    assert [w.name for w in found.model.workloads] == ["prefill-1x128", "decode-1x128-16"]
    also = {found.model.name: additions(found.model)}
    cases = expand("speed", variants("quick"), [found.model], [select("cpu")], {}, "quick", also)
    assert "weight-only-8bit" in {case.compressor_id for case in cases}


def test_joined_texts_are_cut_into_windows(tmp_path: Path) -> None:
    """As GPTQ's evaluation has it: all of a split in one, special tokens once, the rest at the end left out."""
    tiny_models.writer(tmp_path / "model")
    texts = [text if number % 3 else "" for number, (text, _) in enumerate(reviews(300))]
    for name, some in (("train", texts[:100]), ("test", texts[100:])):
        write_csv(tmp_path / "data" / f"{name}.csv", ("text",), [[text] for text in some])
    found = Prepared(tmp_path, model="model", data="data", join=" the ", tokens=32)
    whole = tiny_models.tokenizer()(" the ".join(texts[100:])).input_ids
    windows = found.test.inputs["input_ids"]
    assert windows.flatten().tolist() == whole[: windows.numel()]
    assert len(windows) == len(whole) // 32 and bool(found.test.inputs["attention_mask"].all())
    assert found.test.labels is not None and int((found.test.labels[0] != NOT_SCORED).sum()) == 31


def test_image_classification(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    tiny_models.image_model(tmp_path / "model")
    tiny_models.image_folder(tmp_path / "pictures")
    found = Prepared(tmp_path, model="model", data="pictures")
    pipeline = transformers.pipeline("image-classification", str(tmp_path / "model"), device="cpu")
    places = [place.removeprefix("pictures: ") for place in found.rows["test"]["place"]]
    said = [pipeline(image.open(tmp_path / "pictures" / place), top_k=1)[0]["label"] for place in places]
    assert [("dark", "light")[i] for i in found.answers()["predictions"]] == said
    shown = found.dense.shown()[0]["image"]
    assert np.asarray(shown).shape == (8, 8) and shown[0][0] == 2 * int(Path(places[0]).stem) + 128 * (
        places[0].startswith("light")
    )


def test_embedding_retrieval(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    texts = list(dict.fromkeys(text for text, _ in reviews(200)))
    rows = [[first, second] for first, second in zip(texts[::2], texts[1::2], strict=False)]
    rows += [[rows[0][0], "another film"], ["another scene", rows[1][1]]]
    write_csv(tmp_path / "pairs.csv", ("query", "passage"), rows)
    found = Prepared(tmp_path, model="model", data="pairs.csv")
    assert "2 exact copies were left out" in found.model.understood["notes"]
    queries, documents = found.rows["test"]["query"][:], found.rows["test"]["document"][:]
    model, read = transformers.BertModel.from_pretrained(tmp_path / "model"), tiny_models.tokenizer()

    def embed(text: str) -> torch.Tensor:
        with torch.inference_mode():
            return model(**read(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    a, b = (
        torch.nn.functional.normalize(torch.stack([embed(t) for t in some]), dim=1) for some in (queries, documents)
    )
    cosines = a @ b.T
    first = (cosines.argmax(1) == torch.arange(len(queries))).float().mean().item()
    assert found.scored().measures["accuracy"].value == pytest.approx(first)


def test_pooling_as_sentence_transformers_writes_it(tmp_path: Path) -> None:
    folder = tiny_models.embedder(tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    rows = [[f"{text} film", text] for text in dict.fromkeys(text for text, _ in reviews(80))]
    write_csv(tmp_path / "pairs.csv", ("query", "passage"), rows)
    found = Prepared(tmp_path, model="model", data="pairs.csv")
    model = transformers.BertModel.from_pretrained(folder)
    with torch.inference_mode():
        encoded = tiny_models.tokenizer()(found.rows["test"]["query"][0], return_tensors="pt")
        first = torch.nn.functional.normalize(model(**encoded).last_hidden_state[0, 0], dim=0)
    np.testing.assert_allclose(found.answers()["embeddings"][0], first.numpy(), atol=1e-5)


@pytest.mark.parametrize(("task", "package"), [("translation", "sacrebleu"), ("summarization", "rouge_score")])
def test_text_to_text(tmp_path: Path, task: str, package: str) -> None:
    pytest.importorskip(package)
    folder = tiny_models.translator(tmp_path / "model")
    rows = [[text, " ".join(reversed(text.split()))] for text, _ in reviews(160)]
    write_csv(tmp_path / "texts.csv", ("source", "target"), rows)
    found = Prepared(tmp_path, model="model", data="texts.csv", task=task, new_tokens=8, test_examples=60)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder)
    tokens = found.answers()["tokens"]
    encoded = tiny_models.tokenizer()(found.rows["test"]["source"][:], padding=True, return_tensors="pt")
    with torch.inference_mode():
        said = model.generate(
            encoded.input_ids, attention_mask=encoded.attention_mask, max_new_tokens=8, do_sample=False, num_beams=1
        )
    for mine, theirs in zip(tokens, said[:, 1:].tolist(), strict=True):
        kept = [token for token in mine.tolist() if token != NOT_SCORED]
        assert kept == theirs[: len(kept)]
    assert {"score", "score_drop"} == found.scored().measures.keys()
    assert found.model.understood["settings"]["metric"] == {"translation": "chrf", "summarization": "rougeL"}[task]


test_translation = test_summarization = None
"""Both are test_text_to_text."""


# -- splitting ---------------------------------------------------------------------------------------------------------


def test_a_split_is_the_same_each_time_and_no_text_is_on_both_sides(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    rows = [[text, ("negative", "positive")[label]] for text, label in reviews(100)]
    write_csv(tmp_path / "reviews.csv", ("review", "sentiment"), [*rows, *rows[:30]])

    def splits(cache: str) -> Any:
        said = declare("own", "zoo.toml: [own]", tmp_path, {"model": "model", "data": "reviews.csv"})
        model = understand(said, Cache(tmp_path / cache))
        return model, model.task.load(Cache(tmp_path / cache))

    (model, once), (_, again) = splits("a"), splits("b")
    assert once["test"][:] == again["test"][:] and once["train"][:] == again["train"][:]
    assert not set(once["test"]["text"]) & set(once["train"]["text"])
    assert f"{130 - len({row[0] for row in rows})} exact copies were left out" in model.understood["notes"]
    assert abs(sum(once["test"]["label"]) - len(once["test"]) / 2) <= 1


def test_a_file_of_its_own_is_tested_on(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    for name, seed in (("train", 1), ("test", 2)):
        rows = [[text, ("negative", "positive")[label]] for text, label in reviews(40, seed)]
        write_csv(tmp_path / f"{name}.csv", ("review", "sentiment"), rows)
    said = {"model": "model", "data": "train.csv", "test_data": "test.csv"}
    model = understand(declare("own", "zoo.toml: [own]", tmp_path, said), Cache(tmp_path / "cache"))
    found = model.task.load(Cache(tmp_path / "cache"))
    assert {place.partition(":")[0] for place in found["test"]["place"]} == {"test.csv"}
    assert {place.partition(":")[0] for place in found["train"]["place"]} == {"train.csv"}


@pytest.mark.parametrize("change", ["data", "model", "nothing"])
def test_what_is_made_again(tmp_path: Path, change: str) -> None:
    """Other rows or another tokenizer are another entry; the same ones are read from the cache."""
    folder = tiny_models.classifier(tmp_path / "model")
    _csv(tmp_path)
    said = declare("own", "zoo.toml: [own]", tmp_path, {"model": "model", "data": "reviews.csv"})
    cache = Cache(tmp_path / "cache")
    before = understand(said, cache)
    identity = before.identity()
    if change == "data":
        with (tmp_path / "reviews.csv").open("a") as file:
            file.write("a very good film,positive\n")
    elif change == "model":
        weights = transformers.BertForSequenceClassification.from_pretrained(folder)
        with torch.no_grad():
            weights.classifier.bias += 1
        weights.save_pretrained(folder)
    after = understand(said, cache)
    assert (after.identity() == identity) is (change == "nothing")
    assert (after.task.entry == before.task.entry) is (change != "data")
