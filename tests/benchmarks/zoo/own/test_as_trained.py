"""Words, texts and images reach a model as it was trained to see them, or are refused by name."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.zoo.own.kinds.image_classification import opened
from benchmarks.zoo.own.table import DataError
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parent))
from own_folders import agreed, lines, made, tagged, tiny_models, understood

reviews = tiny_models.reviews


def byte_level(folder: Path, *, prefix: bool, kind: str = "RobertaTokenizer") -> Any:
    """A tokenizer of byte-level pairs, as RoBERTa's and GPT-2's: a blank is a part of the word behind it."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    found.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    found.train_from_iterator(
        [text for text, _ in reviews(200)], trainers.BpeTrainer(vocab_size=500, special_tokens=special)
    )
    found.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    found.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    said = {"tokenizer_class": kind, "model_max_length": 64, **names, "add_prefix_space": prefix}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["RobertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("prefix", [False, True], ids=["bare", "prefixed"])
def test_words_are_read_as_they_are_within_a_text(tmp_path: Path, kind: str, prefix: bool) -> None:
    """The fault that it is for: each word given by itself is read as the beginning of a text, in other tokens."""
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=70, pad_token_id=1, bos_token_id=0, eos_token_id=2, id2label={0: "O", 1: "B-GOOD"},
    )  # fmt: skip
    transformers.RobertaForTokenClassification(config).save_pretrained(tmp_path / "model")
    tokenizer = byte_level(tmp_path / "model", prefix=prefix, kind=kind)
    tagged(tmp_path)
    model = understood(tmp_path, model="model", data="tagged.jsonl")
    dense = made(model, tmp_path)
    examples = model.encode(model.task.load(None)["test"], None)  # type: ignore[arg-type]
    for number, row in enumerate(model.task.load(None)["test"]):  # type: ignore[arg-type]
        whole = tokenizer(" ".join(row["words"]))["input_ids"]
        kept = examples.inputs["attention_mask"][number].bool()
        assert examples.inputs["input_ids"][number][kept].tolist() == whole
        assert examples.labels is not None
        scored = examples.labels[number]
        assert scored[scored >= 0].tolist() == row["tags"]
    assert agreed(model, dense, tmp_path)["shown"]


def test_the_name_of_a_special_token_in_a_text_is_told(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    rows = [[text + (" [SEP] again" if number == 4 else ""), label] for number, (text, label) in enumerate(reviews(60))]
    tiny_models.write_csv(tmp_path / "reviews.csv", ("text", "label"), rows)
    notes = understood(tmp_path, model="model", data="reviews.csv").understood["notes"]
    assert [note for note in notes if "special" in note] == [
        "1 of 60 texts hold the name of a special token, which is read as that token, as transformers reads it; first "
        "reviews.csv: row 5 ([SEP])"
    ]


def fnet(cls: str) -> Any:
    config = transformers.FNetConfig(
        vocab_size=len(tiny_models.VOCABULARY), hidden_size=32, num_hidden_layers=1, intermediate_size=64,
        max_position_embeddings=64, id2label={0: "negative", 1: "positive"},
    )  # fmt: skip
    return getattr(transformers, cls)(config)


def xlstm(cls: str) -> Any:
    config = transformers.xLSTMConfig(
        vocab_size=len(tiny_models.VOCABULARY), hidden_size=64, num_hidden_layers=1, num_heads=4, pad_token_id=0
    )
    return getattr(transformers, cls)(config)


@pytest.mark.parametrize(
    ("made", "cls", "columns"),
    [
        (fnet, "FNetForSequenceClassification", ("text", "label")),
        (fnet, "FNetModel", ("query", "document")),
        (xlstm, "xLSTMForCausalLM", ("text",)),
    ],
)
def test_a_model_that_cannot_tell_padding_is_refused(
    made: Any, cls: str, columns: tuple[str, ...], tmp_path: Path
) -> None:
    tiny_models.save(made(cls), tmp_path / "model")
    lines(tmp_path, columns)
    if "label" in columns:
        tiny_models.write_csv(tmp_path / "rows.csv", columns, reviews(60))
    with pytest.raises(PressbenchError, match=f"model: {cls} takes no attention mask, and cannot be told what is"):
        understood(tmp_path, model="model", data="rows.csv" if "label" in columns else "rows.jsonl")


def test_one_output_is_no_class(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model", ("score",))
    tiny_models.write_csv(tmp_path / "reviews.csv", ("text", "label"), [[text, 0.5] for text, _ in reviews(60)])
    with pytest.raises(PressbenchError, match="model: its head has one output, which is a number and no class"):
        understood(tmp_path, model="model", data="reviews.csv")


# -- images ------------------------------------------------------------------------------------------------------------


def numbered(folder: Path, names: list[str], said: dict[int, str] | None) -> None:
    tiny_models.image_model(folder / "model")
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = said or {number: f"LABEL_{number}" for number in range(len(names))}
    config["label2id"] = {name: number for number, name in config["id2label"].items()}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**config))
    model.save_pretrained(folder / "model")
    for number, name in enumerate(names):
        (folder / "pictures" / name).mkdir(parents=True)
        for copy in range(4):
            (folder / "pictures" / name / f"{copy}.png").write_bytes(tiny_models.png(20 * number + copy))


def test_folders_named_by_number(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    names = [str(number) for number in range(11)]
    numbered(tmp_path, names, None)
    with pytest.raises(DataError, match="in the order of text: labels=0,1,10,2,3,4,5,6,7,8,9; else labels=0,1,2,3"):
        understood(tmp_path, model="model", data="pictures")
    model = understood(tmp_path, model="model", data="pictures", labels=tuple(sorted(names)))
    assert model.task.labels[2] == "10"
    for row in model.task.load(None)["test"]:  # type: ignore[arg-type]
        assert model.task.labels[row["label"]] == row["place"].split(": ")[1].split("/")[0]


def test_the_models_own_names_of_folders_win(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    names = [str(number) for number in range(11)]
    numbered(tmp_path, names, dict(enumerate(sorted(names))))
    model = understood(tmp_path, model="model", data="pictures")
    for row in model.task.load(None)["test"]:  # type: ignore[arg-type]
        assert sorted(names)[row["label"]] == row["place"].split(": ")[1].split("/")[0]


def test_folders_named_with_noughts(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    names = [f"{number:02d}" for number in range(11)]
    numbered(tmp_path, names, None)
    model = understood(tmp_path, model="model", data="pictures")
    for row in model.task.load(None)["test"]:  # type: ignore[arg-type]
        assert row["label"] == int(row["place"].split(": ")[1].split("/")[0])


def test_images_are_opened_as_transformers_opens_them() -> None:
    image = pytest.importorskip("PIL.Image")
    from transformers.image_utils import load_image

    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    palette = image.fromarray(colours[..., :3]).convert("P")
    transparent = palette.copy()
    transparent.info["transparency"] = 3
    kinds = {
        "rgb": (image.fromarray(colours[..., :3]), "RGB"),
        "grey": (image.fromarray(colours[..., 0]), "L"),
        "alpha": (image.fromarray(colours), "RGBA"),
        "grey and alpha": (image.fromarray(colours).convert("LA"), "LA"),
        "palette": (palette, "P"),
        "transparent palette": (transparent, "PA"),
        "two levels": (image.fromarray(colours[..., 0] > 99), "1"),
        "16 bits, dark": (image.fromarray(colours[..., 0].astype(np.uint16)), "I"),
        "cmyk": (image.fromarray(colours[..., :3]).convert("CMYK"), "CMYK"),
    }
    for name, (drawn, bands) in kinds.items():
        raw = io.BytesIO()
        drawn.save(raw, "TIFF" if name == "cmyk" else "PNG")
        found = opened(raw.getvalue(), name)
        assert found.info["bands"] == bands, name
        np.testing.assert_array_equal(np.asarray(found), np.asarray(load_image(image.open(raw))), name)


@pytest.mark.parametrize(("kind", "told"), [(np.uint16, "values up to 63000"), (np.float32, "fractions")])
def test_more_than_8_bits_are_refused(kind: Any, told: str) -> None:
    """transformers, and Pillow, make them white."""
    image = pytest.importorskip("PIL.Image")
    raw = io.BytesIO()
    image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(kind)).save(raw, "TIFF")
    with pytest.raises(DataError, match=f"deep.tif: {told}, which transformers cuts to 8 bits a pixel"):
        opened(raw.getvalue(), "deep.tif")
