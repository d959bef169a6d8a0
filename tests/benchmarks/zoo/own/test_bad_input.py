"""Whatever is wrong with data of one's own is told in one line, with its place, before anything is made."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.zoo.own.model import OwnModel
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parent))
from own_folders import named, put
from tiny_models import image_folder, image_model, png, reviews, write_csv


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
