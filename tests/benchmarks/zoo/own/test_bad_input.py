"""Whatever is wrong with a model or data of one's own is told in one line, with its place, before anything is made."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from benchmarks.cache import Cache
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import understand
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parents[3]))
import tiny_models
from tiny_models import VOCABULARY, classifier, image_folder, image_model, png, reviews, save, write_csv

NAMES = ("negative", "positive")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that no test changes."""
    folder = tmp_path_factory.mktemp("models")
    classifier(folder / "named")
    classifier(folder / "unnamed", None)
    return folder


@pytest.fixture
def understood(tmp_path: Path, shared: Path) -> Callable[..., OwnModel]:
    def make(model: str = "named", data: str = "reviews.csv", **values: Any) -> OwnModel:
        where = tmp_path if (tmp_path / model).exists() else shared
        said = {"model": str(where / model), "data": data, **values}
        found = understand(declare("own", "--model", tmp_path, said), Cache(tmp_path / "cache"))
        return found

    return make


@pytest.fixture
def refusal(understood: Callable[..., OwnModel], tmp_path: Path, shared: Path) -> Callable[..., str]:
    """The line that a person reads, with the folders cut off."""

    def read(*args: Any, **values: Any) -> str:
        before = list((tmp_path / "cache").rglob("seal.json"))
        with pytest.raises(PressbenchError) as raised:
            understood(*args, **values)
        text = str(raised.value)
        assert "\n" not in text and text.startswith("--model: ")
        assert list((tmp_path / "cache").rglob("seal.json")) == before
        return text.removeprefix("--model: ").replace(f"{tmp_path}/", "").replace(f"{shared}/", "")

    return read


def named(count: int = 60) -> list[list[str]]:
    return [[text, NAMES[label]] for text, label in reviews(count)]


def put(tmp_path: Path, rows: list[list[Any]], heading: tuple[str, ...] = ("review", "sentiment")) -> None:
    write_csv(tmp_path / "reviews.csv", heading, rows)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_without_a_label(tmp_path: Path, refusal: Callable[..., str]) -> None:
    rows = named()
    rows[16][1] = rows[20][1] = ""
    put(tmp_path, rows)
    assert refusal() == "reviews.csv: row 17: no label in column 'sentiment' (and 1 more row)"


def test_a_label_that_the_model_does_not_have(tmp_path: Path, refusal: Callable[..., str]) -> None:
    rows = named()
    for row in rows:
        row[1] = "positive"
    rows[4][1] = "neutral"
    put(tmp_path, rows)
    assert refusal() == "reviews.csv: row 5: unknown label 'neutral'; the model has negative, positive"


def test_more_labels_than_the_head_has(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, [[text, ("bad", "fair", "good")[number % 3]] for number, (text, _) in enumerate(reviews(60))])
    assert refusal() == ("reviews.csv: 3 labels in column 'sentiment' ('bad', 'fair', 'good'), the head of named has 2")


def test_labels_that_nothing_ties_to_outputs(tmp_path: Path, refusal: Callable[..., str]) -> None:
    """Sorted by name would be a guess, and a wrong one an accuracy that looks measured."""
    put(tmp_path, named())
    assert refusal("unnamed") == (
        "reviews.csv: its labels are negative, positive, and unnamed does not name its outputs; say which is which: "
        "labels = negative,positive if that is the order of the head"
    )


def test_numbers_beyond_the_head(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, [[text, label + 1] for text, label in reviews(60)])
    assert refusal() == "reviews.csv: row 2: unknown label '2'; the head of named has 0 to 1"


def test_more_names_than_outputs(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    assert refusal(labels=[1, 5]) == 'labels.0: must be text, in quotation marks, "1"'
    assert refusal(labels=["a", "b", "c"]) == "labels: 3 names for 2 outputs of the head of named"


def test_an_empty_text(tmp_path: Path, refusal: Callable[..., str]) -> None:
    rows = named()
    rows[2][0] = "   "
    put(tmp_path, rows)
    assert refusal() == "reviews.csv: row 3: empty text in column 'review'"


def test_a_text_that_is_too_long(tmp_path: Path, refusal: Callable[..., str]) -> None:
    rows = named()
    rows[6][0] = "film " * 100
    put(tmp_path, rows)
    assert refusal(too_long="refuse", tokens=32) == (
        'reviews.csv: row 7: 102 tokens, at most 32 are taken; shorten it, or say too_long = "cut"'
    )


def test_a_text_that_is_too_long_is_cut_and_told(tmp_path: Path, understood: Callable[..., OwnModel]) -> None:
    rows = named()
    rows[6][0] = "film " * 100
    put(tmp_path, rows)
    note = "1 of 60 texts are longer than 32 tokens and are cut, first reviews.csv: row 7 (102 tokens)"
    assert note in understood().understood["notes"]


def test_columns_that_are_not_there(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    assert refusal(columns={"text": "reveiw"}) == "reviews.csv: no column 'reveiw' for text; did you mean review?"
    assert refusal(columns={"txt": "review"}) == ("reviews.csv: no role 'txt' in this task; did you mean text?")
    put(tmp_path, named(), ("foo", "sentiment"))
    assert refusal().startswith("reviews.csv: which column is the text? It has foo, sentiment; say columns: text=NAME")


def test_a_wrong_encoding(tmp_path: Path, refusal: Callable[..., str], understood: Callable[..., OwnModel]) -> None:
    rows = named()
    rows[3][0] = "café film"
    write_csv(tmp_path / "reviews.csv", ("review", "sentiment"), rows, encoding="latin-1")
    assert refusal() == (
        "reviews.csv: line 5 is not utf-8 (byte 0xe9); save the file as UTF-8 or say encoding=latin-1 (or cp1252)"
    )
    assert refusal(encoding="latn-1").startswith("reviews.csv: no encoding is called 'latn-1'")
    assert understood(encoding="latin-1").task.test_examples == 30


def test_rows_with_too_many_fields(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "reviews.csv").write_text("review,sentiment\na film,positive\na, bad, film,negative\n")
    assert refusal() == "reviews.csv: line 3 has 4 fields, the heading 2"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "", "r.csv: the file is empty"),
        ("r.csv", "review,sentiment\n", "r.csv: no rows"),
        ("r.jsonl", '{"text": "a"\n', "r.jsonl: line 1: not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        ("r.jsonl", "[1]\n", 'r.jsonl: line 1: must be an object, like {"text": …}'),
        ("r.json", '{"text": "a"}', "r.json: must be a list of objects"),
        ("r.parquet", "nothing of the kind", "r.parquet: not readable as Parquet: "),
        ("r.docx", "x", "r.docx: data is read from .csv, .tsv, .jsonl, "),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, refusal: Callable[..., str], name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    assert refusal(data=name).startswith(said)


def test_a_file_that_is_not_there(refusal: Callable[..., str]) -> None:
    assert refusal(data="nowhere.csv").startswith("data: nowhere.csv: no such file or folder")


def test_too_few_rows_to_split(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named(12))
    assert refusal() == "reviews.csv: 12 rows are too few to test on and to calibrate with: needs 20"


def test_a_published_share_in_percent(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    one = {"method": "BERT", "value": 93.2, "source": "a paper"}
    assert refusal(published=[one]) == "published.0.value: 93.2 is no share of 1; 93.2 % is 0.932"


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_model_without_a_head_for_the_task(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    save(transformers.BertForMaskedLM(tiny_models.bert_config()), tmp_path / "masked")
    assert refusal("masked", task="text-classification") == (
        "masked: BertForMaskedLM has no head for text-classification, which takes …ForSequenceClassification; "
        "fine-tune one for the task and name that"
    )
    assert refusal("masked").startswith("masked is BertForMaskedLM, whose task is not scored here; those that are: ")
    assert refusal("named", task="text-clasification").startswith(
        "unknown task 'text-clasification'; did you mean text-classification"
    )


def test_weights_that_lack_the_head(tmp_path: Path, refusal: Callable[..., str]) -> None:
    """transformers would make one at random, with a warning."""
    put(tmp_path, named())
    folder = classifier(tmp_path / "headless")
    bare = transformers.BertForSequenceClassification.from_pretrained(folder)
    transformers.BertModel.save_pretrained(bare.bert, tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").replace(folder / "model.safetensors")
    assert refusal("headless") == (
        "headless: its weights have no classifier.*, the head of BertForSequenceClassification: fine-tune it for the "
        "task first"
    )


def test_a_tokenizer_that_does_not_match(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    model = transformers.BertForSequenceClassification(tiny_models.bert_config())
    filled = (*tiny_models.SPECIAL, *(f"filler{n}" for n in range(40)), *VOCABULARY[5:])
    save(model, tmp_path / "larger", filled)
    assert re.match(
        r"larger: the tokenizer does not match: it makes token \d+ \('\w+'\), the model has 38; first at reviews.csv: ",
        refusal("larger"),
    )
    save(model, tmp_path / "other", (*tiny_models.SPECIAL, "quite", "different", "words"))
    assert re.fullmatch(
        r"other: the tokenizer does not match these texts: it does not know \d+ % of their pieces", refusal("other")
    )
    for file in (tmp_path / "other").glob("tokenizer*"):
        file.unlink()
    assert refusal("other").startswith("other: no tokenizer (tokenizer.json, vocab.txt, …)")


def test_more_tokens_than_positions(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    assert refusal(tokens=65) == "tokens = 65: named has positions for 64"


def test_folders_that_are_no_model(tmp_path: Path, refusal: Callable[..., str], shared: Path) -> None:
    put(tmp_path, named())
    folder = classifier(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())

    def configured(**changes: Any) -> str:
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return refusal("own")

    assert configured(architectures=["OwnForSequenceClassification"], auto_map={"AutoModel": "own.Own"}).startswith(
        "own: OwnForSequenceClassification is no class of transformers"
    )
    assert "which is never run here" in configured(architectures=["OwnModel"], auto_map={})
    assert configured(quantization_config={"quant_method": "gptq"}) == (
        "own: it is quantized already; the dense model must be the one before that"
    )
    assert configured(architectures=None) == "own/config.json: without architectures"
    assert configured(model_type="bert", hidden_size="wide").startswith("own/config.json: ")
    (folder / "config.json").write_text("{")
    assert refusal("own").startswith("own/config.json: not readable as JSON: ")
    (folder / "config.json").unlink()
    assert refusal("own") == "own: no config.json; a model folder is what save_pretrained writes"
    (folder / "adapter_config.json").write_text("{}")
    assert refusal("own") == "own: an adapter, no whole model; merge it into its base and save that"
    assert refusal("reviews.csv") == "reviews.csv: a file; a model is the folder that save_pretrained writes"


def test_weights_that_cannot_be_read(tmp_path: Path, refusal: Callable[..., str]) -> None:
    put(tmp_path, named())
    folder = classifier(tmp_path / "own")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert refusal("own").startswith("own/model.safetensors: damaged or truncated: ")
    weights.unlink()
    assert refusal("own") == "own: no weights (model.safetensors)"
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    assert refusal("own").endswith("names a file outside the folder: '../elsewhere.safetensors'")
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    assert refusal("own") == (
        "own: model-00001-of-00001.safetensors is missing, which model.safetensors.index.json names"
    )


def test_pickle_is_read_only_when_asked(
    tmp_path: Path, refusal: Callable[..., str], understood: Callable[..., OwnModel]
) -> None:
    put(tmp_path, named())
    folder = classifier(tmp_path / "own")
    state = transformers.BertForSequenceClassification.from_pretrained(folder).state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert refusal("own") == (
        "own: its weights are there as pickle only (pytorch_model.bin), a format that can run code; save them as "
        "safetensors, or pass --allow-pickle to read them with torch's unpickler of weights"
    )
    assert understood("own", allow_pickle=True).allow_pickle


# -- images ------------------------------------------------------------------------------------------------------------


def test_images(tmp_path: Path, refusal: Callable[..., str], understood: Callable[..., OwnModel]) -> None:
    pytest.importorskip("PIL")
    image_model(tmp_path / "vit")
    folder = image_folder(tmp_path / "pictures")
    good = (folder / "dark" / "4.png").read_bytes()
    (folder / "dark" / "4.png").write_bytes(good[: len(good) // 2])
    assert refusal("vit", "pictures").startswith("pictures: dark/4.png: does not decode: ")
    (folder / "dark" / "4.png").write_bytes(b"no image at all")
    assert refusal("vit", "pictures") == (
        "pictures: dark/4.png: does not decode: not an image that Pillow knows; replace it or leave it out"
    )
    (folder / "dark" / "4.png").write_bytes(good)
    (folder / "grey").mkdir()
    (folder / "grey" / "1.png").write_bytes(png(77))
    assert refusal("vit", "pictures") == (
        "pictures: 3 labels in column 'label' ('dark', 'grey', 'light'), the head of vit has 2"
    )
    (folder / "grey" / "1.png").unlink()
    found = understood("vit", "pictures")
    assert found.task.test_examples == 15 and found.inputs["pixel_values"].axes == ("batch", 3, 8, 8)
    image_model(tmp_path / "large", 16)
    assert refusal("large", "pictures") == (
        "large: its preprocessor_config.json makes images of 3×8×8, the model takes 3×16×16"
    )
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    assert refusal("vit", "pictures") == (
        "vit: no preprocessor_config.json; save the image processor into the same folder"
    )


def test_an_image_that_unpacks_to_too_much(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from benchmarks.zoo.own.kinds.image_classification import opened

    raw = io.BytesIO()
    image.new("1", (10_000, 10_000)).save(raw, "PNG")
    with pytest.raises(PressbenchError, match=r"big.png: 10000 × 10000 pixels are too many"):
        opened(raw.getvalue(), "big.png")
