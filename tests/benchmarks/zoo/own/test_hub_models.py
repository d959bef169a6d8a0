"""The declared models of the hub, and a user's own, from a hub-shaped server: the loading is the real one, what is
loaded is tiny."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
from hub_server import HubServer

from benchmarks.cache import Cache
from benchmarks.hardware import select
from benchmarks.measure import stages
from benchmarks.preparation.preparation import Preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.zoo.dense import Dense, prepare_dense
from benchmarks.zoo.own import hub_sources
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.selection import select_models
from benchmarks.zoo.own.shipped import shipped
from benchmarks.zoo.own.understanding import understand
from compressors.interface import PressbenchError, Unsupported, no_progress

sys.path.append(str(Path(__file__).parents[3]))
import tiny_models
from tiny_models import reviews

Rows = Sequence[Mapping[str, Any]]


def put(hub: HubServer, name: str, files: Mapping[str, Rows], **labels: list[str]) -> None:
    """A data set: path of a Parquet file -> rows. labels: column -> the names of its classes."""
    for path, rows in files.items():
        data = datasets.Dataset.from_list([dict(row) for row in rows])
        for column, names in labels.items():
            data = data.cast_column(column, datasets.ClassLabel(names=names))
        target = hub.root / "datasets" / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data.to_parquet(str(target))


def classified(count: int, seed: int, *columns: str) -> Rows:
    return [{**dict.fromkeys(columns, text), "label": label, "idx": 7} for text, label in reviews(count, seed)]


def made(model: OwnModel, cache: Cache, folder: Path) -> tuple[Dense, Mapping[str, Any]]:
    """The dense model, and its answers."""
    folder.mkdir()
    prepare_dense(model, cache, select("cpu"), no_progress, folder)
    (folder / "seal.json").write_text("{}")
    dense = Dense(folder)
    state = {"forward": dense.artifact.load()}
    answers = stages.answer(state, model.task.quality, dense.inputs_path, 4, progress=no_progress)
    return dense, model.task.quality.judge(answers, answers, dense.test(), None).measures


# -- those that come with pressbench -----------------------------------------------------------------------------------


def sst2(hub: HubServer) -> None:
    config = tiny_models.bert_config().to_dict()
    kept = ("vocab_size", "id2label", "label2id")
    small = transformers.DistilBertConfig(
        **{key: config[key] for key in kept}, dim=32, n_layers=2, n_heads=2, hidden_dim=64
    )
    torch.manual_seed(0)
    tiny_models.save(transformers.DistilBertForSequenceClassification(small), hub_folder(hub, "distilbert-sst2"))
    rows = {
        f"sst2/{s}-00000-of-00001.parquet": classified(60, n, "sentence") for n, s in enumerate(("train", "validation"))
    }
    unlabelled = [{**row, "label": -1} for row in classified(60, 2, "sentence")]
    put(hub, "nyu-mll/glue", rows, label=["negative", "positive"])
    data = {"sst2/test-00000-of-00001.parquet": unlabelled, "cola/train-00000-of-00001.parquet": unlabelled}
    put(hub, "nyu-mll/glue", data)


def mnli(hub: HubServer) -> None:
    tiny_models.classifier(hub_folder(hub, "bert-mnli"), ("LABEL_0", "LABEL_1", "LABEL_2"), 512)
    names = ["entailment", "neutral", "contradiction"]
    splits = ("train", "validation_matched", "validation_mismatched", "test_matched")
    for number, split in enumerate(splits):
        texts = [text for text, _ in reviews(120, number)]
        rows = [
            {"premise": first, "hypothesis": second, "label": i % 3, "idx": i}
            for i, (first, second) in enumerate(zip(texts[::2], texts[1::2], strict=True))
        ]
        put(hub, "nyu-mll/glue", {f"mnli/{split}-00000-of-00001.parquet": rows}, label=names)


def opt(hub: HubServer) -> None:
    words = len(tiny_models.VOCABULARY)
    config = transformers.OPTConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=2, ffn_dim=64, num_attention_heads=2,
        max_position_embeddings=2048, word_embed_proj_dim=32, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny_models.save(transformers.OPTForCausalLM(config), hub_folder(hub, "opt-125m-wikitext2"))
    wikitext(hub)


def qwen(hub: HubServer) -> None:
    config = transformers.Qwen3Config(
        vocab_size=len(tiny_models.VOCABULARY), hidden_size=32, num_hidden_layers=2, intermediate_size=64, head_dim=16,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096, pad_token_id=0, eos_token_id=3,
        bos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny_models.save(transformers.Qwen3ForCausalLM(config), hub_folder(hub, "qwen3-06b-wikitext2"))
    wikitext(hub)


def wikitext(hub: HubServer) -> None:
    files = {}
    for number, split in enumerate(("train", "validation", "test")):
        count = 9000 if split == "test" else 500  # for fifty windows
        rows = [{"text": text if place % 4 else ""} for place, (text, _) in enumerate(reviews(count, number))]
        files[f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet"] = rows
    put(hub, "Salesforce/wikitext", files)
    put(hub, "Salesforce/wikitext", {"wikitext-103-raw-v1/train-00000-of-00001.parquet": [{"text": "a film"}]})


def vit(hub: HubServer) -> None:
    pytest.importorskip("PIL")
    tiny_models.image_model(hub_folder(hub, "vit-imagenet"))
    names = ["dark", "light"]
    rows = [
        {"image": {"bytes": tiny_models.png(2 * n + 128 * (n % 2)), "path": f"{n}.png"}, "label": n % 2}
        for n in range(40)
    ]
    put(hub, "ILSVRC/imagenet-1k", {f"data/validation-0000{n}-of-00002.parquet": rows for n in (0, 1)}, label=names)


def opus(hub: HubServer) -> None:
    pytest.importorskip("sacrebleu")
    words = len(tiny_models.VOCABULARY)
    config = transformers.MarianConfig(
        vocab_size=words, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, pad_token_id=0,
        eos_token_id=3, forced_eos_token_id=3, decoder_start_token_id=0, bad_words_ids=[[0]], scale_embedding=True,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny_models.save(transformers.MarianMTModel(config), hub_folder(hub, "opus-mt-wmt14"))
    for number, split in enumerate(("train", "validation", "test")):
        rows = [
            {"translation": {"de": " ".join(reversed(text.split())), "en": text}} for text, _ in reviews(60, number)
        ]
        put(hub, "wmt/wmt14", {f"de-en/{split}-00000-of-00001.parquet": rows})


DECLARED: dict[str, Callable[[HubServer], None]] = {
    "distilbert-sst2": sst2,
    "bert-mnli": mnli,
    "opt-125m-wikitext2": opt,
    "qwen3-06b-wikitext2": qwen,
    "vit-imagenet": vit,
    "opus-mt-wmt14": opus,
}


def hub_folder(hub: HubServer, name: str) -> Path:
    return hub.root / "models" / shipped().declared[name].said.model


def test_every_declared_model_is_tested() -> None:
    assert set(DECLARED) == set(shipped().declared)


@pytest.mark.parametrize("name", DECLARED)
def test_a_declared_model(name: str, hub: HubServer, tmp_path: Path) -> None:
    DECLARED[name](hub)
    declared, cache = shipped().declared[name], Cache(tmp_path / "cache")
    model = understand(declared, cache)
    facts = model.understood["hub"]
    assert facts["model"]["commit"] == hub.commit(f"models/{declared.said.model}")
    assert facts["data"]["commit"] == hub.commit(f"datasets/{declared.said.data}")
    assert model.evaluation_batch and [w.name for w in model.workloads] == list(declared.said.workloads)
    dense, measures = made(model, cache, tmp_path / "dense")
    assert len(dense.test()) >= 1 and measures
    asked = " ".join(hub.requests)
    assert "README" not in asked and "wikitext-103" not in asked and "00001-of-00002" not in asked


def test_labels_of_mnli_are_those_that_the_head_means(hub: HubServer, tmp_path: Path) -> None:
    """Entailment is 0 in the data and 1 in the model."""
    mnli(hub)
    model = understand(shipped().declared["bert-mnli"], Cache(tmp_path / "cache"))
    rows = model.task.load(Cache(tmp_path / "cache"))["test"]
    truth = {f"{r['premise']}|{r['hypothesis']}": r["label"] for r in datasets.Dataset.from_parquet(
        str(hub.root / "datasets/nyu-mll/glue/mnli/validation_matched-00000-of-00001.parquet")
    )}  # fmt: skip
    for row in rows:
        assert row["label"] == {0: 1, 1: 2, 2: 0}[truth[f"{row['text']}|{row['second']}"]]


# -- a user's own names ------------------------------------------------------------------------------------------------


def own(folder: Path, **values: Any) -> Any:
    return declare("own", "--model", folder, {"model": "org/tiny", "data": "org/rows", **values})


@pytest.fixture
def published(hub: HubServer) -> HubServer:
    tiny_models.classifier(hub.root / "models/org/tiny")
    splits = {f"{s}.parquet": classified(60, n, "text") for n, s in enumerate(("train", "test"))}
    put(hub, "org/rows", splits, label=["negative", "positive"])
    return hub


def test_a_revision_is_a_commit_that_stays(published: HubServer, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = published.commit("models/org/tiny")
    assert first
    published.tags["v1"] = first
    before = understand(own(tmp_path, model="org/tiny@v1"), cache)
    config = published.root / "models/org/tiny/config.json"
    config.write_text(config.read_text() + "\n")
    assert published.commit("models/org/tiny") != first
    after = understand(own(tmp_path, model="org/tiny@v1"), cache)
    assert after.understood["hub"]["model"]["commit"] == first == before.understood["hub"]["model"]["commit"]
    assert understand(own(tmp_path), cache).understood["hub"]["model"]["commit"] != first


def test_once_fetched_no_hub_is_needed(published: HubServer, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    model = understand(own(tmp_path), cache)
    model.assets[0].folder(cache)
    published.stop()
    again = understand(own(tmp_path), cache)
    assert again.identity() == model.identity()
    assert again.understood["hub"]["model"]["note"].startswith("model org/tiny: hub out of reach (")
    made(again, cache, tmp_path / "dense")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("repository", "hub: no model 'org/tiny' (or it is private: set HF_TOKEN)"),
        ("gated", "hub: model 'org/tiny' is gated: accept its terms at "),
    ],
)
def test_a_mistake_in_a_name_ends_the_run_in_one_line(
    published: HubServer, tmp_path: Path, fault: str, said: str
) -> None:
    published.fault = fault
    with pytest.raises(PressbenchError) as raised:
        select_models(options(model=["org/tiny"], data="org/rows", cache=str(tmp_path / "cache")), tmp_path)
    assert str(raised.value).startswith(f"--model: {said}") and not isinstance(raised.value, Unsupported)


def options(**given: Any) -> Callable[[str], Any]:
    return lambda name: given.get(name.removeprefix("--").replace("-", "_"))


def test_a_hub_out_of_reach_leaves_cases_that_say_so(published: HubServer, tmp_path: Path) -> None:
    published.stop()
    chosen = select_models(options(model=["org/tiny"], data="org/rows", cache=str(tmp_path / "cache")), tmp_path)
    (model,) = chosen.models
    prepared = Preparation(Cache(tmp_path / "cache"), Settings(), Stages(None))
    with pytest.raises(Unsupported, match=r"^--model: hub: 127.0.0.1:\d+ is out of reach \(.*refused"):
        prepared.dense(model)


def test_a_hub_that_does_not_answer_is_waited_for_once(
    published: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_sources, "PATIENCE", 4.0)
    monkeypatch.setattr(hub_sources, "IMPATIENCE", 1.5)
    published.fault = "silent"
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(Unsupported, match="no answer in"):
            understand(own(tmp_path), Cache(tmp_path / "cache"))
        seconds.append(time.monotonic() - started)
    assert seconds[0] > 4 > seconds[1]
    published.fault = None
    assert understand(own(tmp_path), Cache(tmp_path / "cache"))


def test_of_what_is_trained_on_one_file_is_fetched(published: HubServer, tmp_path: Path) -> None:
    """Of what is tested on, all: it is cut to a number of examples, and so is a training split of a hundred files."""
    for seed, split in ((0, "train"), (2, "test")):
        files = {f"data/{split}-0000{n}-of-00002.parquet": classified(40, seed + n, "text") for n in (0, 1)}
        put(published, "org/parts", files, label=["negative", "positive"])
    found = understand(own(tmp_path, data="org/parts"), Cache(tmp_path / "cache"))
    assert {split: len(paths) for split, paths in found.understood["hub"]["data"]["files"].items()} == {
        "train": 1,
        "test": 2,
    }
    assert found.understood["rows"] == {"org/parts train": 40, "org/parts test": 80}
    assert not any("train-00001" in request for request in published.requests)


def test_data_that_is_too_much_or_has_no_files(
    published: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")

    def refusal(**values: Any) -> str:
        with pytest.raises(PressbenchError) as raised:
            understand(own(tmp_path, **values), cache)
        return str(raised.value).removeprefix("--model: ")

    with monkeypatch.context() as small:
        small.setattr(hub_sources, "MOST_BYTES", 1000)
        assert refusal().startswith("hub: org/rows: 0.0 GB of data; name a part of it, like files = [")
        assert not any("/resolve/" in request and ".parquet" in request for request in published.requests)
    assert refusal(test_split="dev") == "hub: org/rows: no split 'dev'; there are: test, train"
    assert refusal(configuration="en").startswith("hub: org/rows: no configuration 'en'")
    assert refusal(files=["*.csv"]).startswith("hub: org/rows: no file fits *.csv; there are: ")
    script = published.root / "datasets/org/script/script.py"
    script.parent.mkdir(parents=True)
    script.write_text("raise SystemExit('code of a data set was run')")
    assert refusal(data="org/script").startswith("hub: org/script: no files of data (.csv, .tsv, ")
    for name in ("en", "de"):
        put(published, "org/several", {f"{name}/train.parquet": classified(30, 0, "text")})
    assert refusal(data="org/several") == (
        "hub: org/several has several configurations; say which, configuration = de|en"
    )
