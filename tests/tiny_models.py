"""Models as people have them, in folders that save_pretrained wrote; made outside the suite, and tiny."""

from __future__ import annotations

import csv
import random
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

GOOD = ["good", "fine", "great", "lovely", "superb", "happy", "warm", "bright"]
BAD = ["bad", "poor", "awful", "sad", "cold", "dull", "broken", "grim"]
OTHER = (
    "the", "a", "film", "story", "was", "it", "and", "actor", "scene", "with", "of", "plot", "music", "very", "this",
    "that", "end",
)  # fmt: skip
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*SPECIAL, *GOOD, *BAD, *OTHER)


def tokenizer(words: Sequence[str] = VOCABULARY) -> transformers.PreTrainedTokenizerFast:
    """One token a word."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.normalizer = pre_tokenizers.Whitespace(), normalizers.Lowercase()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def bert_config(labels: Sequence[str] | None = ("negative", "positive"), **more: object) -> transformers.BertConfig:
    """Two layers × 32. labels None: outputs without names, two of them."""
    named = {"num_labels": 2} if labels is None else {"id2label": dict(enumerate(labels))}
    return transformers.BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, **named, **more,
    )  # fmt: skip


def save(model: transformers.PreTrainedModel, folder: Path, words: Sequence[str] = VOCABULARY) -> Path:
    """Model and tokenizer, as people save them."""
    model.save_pretrained(folder)
    tokenizer(words).save_pretrained(folder)
    return folder


def classifier(folder: Path, labels: Sequence[str] | None = ("negative", "positive"), positions: int = 64) -> Path:
    """A text classifier that has learned nothing."""
    torch.manual_seed(0)
    config = bert_config(labels)
    config.max_position_embeddings = positions
    return save(transformers.BertForSequenceClassification(config), folder)


def review(label: int, coin: random.Random) -> str:
    """A text with three words of its label's kind, one in ten of them of the other's."""
    words = coin.choices(OTHER, k=coin.randint(6, 20))
    for _ in range(3):
        kind = (BAD, GOOD)[label if coin.random() < 0.9 else 1 - label]
        words.insert(coin.randrange(len(words)), coin.choice(kind))
    return " ".join(words)


def reviews(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts with their label, 0 and 1 in turns."""
    coin = random.Random(seed)
    return [(review(number % 2, coin), number % 2) for number in range(count)]


def trained_classifier(folder: Path) -> Path:
    """A text classifier, trained with a plain loop of torch and transformers until it is mostly right."""
    torch.manual_seed(0)
    model, read, coin = transformers.BertForSequenceClassification(bert_config()), tokenizer(), random.Random(1)
    optimizer, data = torch.optim.AdamW(model.parameters(), 2e-3), reviews(1000, seed=1)
    for _ in range(3):
        coin.shuffle(data)
        for start in range(0, len(data), 32):
            batch = data[start : start + 32]
            encoded = read([text for text, _ in batch], padding=True, return_tensors="pt")
            model(**encoded, labels=torch.tensor([label for _, label in batch])).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return save(model.eval(), folder)


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]], encoding: str = "utf-8") -> Path:
    """A CSV file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([heading, *rows])
    return path


def tagger(folder: Path) -> Path:
    """Finds words of praise and of blame, as entities; it has learned nothing."""
    torch.manual_seed(0)
    return save(transformers.BertForTokenClassification(bert_config(("O", "B-GOOD", "B-BAD"))), folder)


SEVERAL = ("praise", "blame", "music")


def opinions(count: int, seed: int = 0) -> list[tuple[str, list[int]]]:
    """Texts that praise, blame and name the music, each or not, as 0 and 1 in the order of `SEVERAL`."""
    coin, found = random.Random(seed), []
    for _ in range(count):
        words, marks = coin.choices([w for w in OTHER if w != "music"], k=coin.randint(6, 14)), []
        for some in (GOOD, BAD, ["music"]):
            marks.append(int(coin.random() < 0.4))
            if marks[-1]:
                words.insert(coin.randrange(len(words)), coin.choice(some))
        found.append((" ".join(words), marks))
    return found


def labeller(folder: Path, steps: int = 0, problem: str | None = "multi_label_classification") -> Path:
    """A classifier of labels that do not exclude each other, trained as transformers does for that problem_type."""
    torch.manual_seed(0)
    config = bert_config(SEVERAL, problem_type="multi_label_classification")
    model, read, data = transformers.BertForSequenceClassification(config), tokenizer(), opinions(32 * 40, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(steps):
        batch = data[32 * (step % 40) : 32 * (step % 40 + 1)]
        encoded = read([text for text, _ in batch], padding=True, return_tensors="pt")
        model(**encoded, labels=torch.tensor([marks for _, marks in batch], dtype=torch.float)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.config.problem_type = problem
    return save(model.eval(), folder)


def writer(folder: Path) -> Path:
    """A language model of Llama's architecture."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=256, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return save(transformers.LlamaForCausalLM(config), folder)


def embedder(folder: Path) -> Path:
    """A model that embeds texts."""
    torch.manual_seed(0)
    return save(transformers.BertModel(bert_config()), folder)


def translator(folder: Path) -> Path:
    """An encoder with a decoder, of T5's architecture."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(VOCABULARY), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, pad_token_id=0,
        eos_token_id=3, decoder_start_token_id=0,
    )  # fmt: skip
    return save(transformers.T5ForConditionalGeneration(config), folder)


def png(level: int) -> bytes:
    """An image of 8 × 8 in one grey, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes([level] * 8) for _ in range(8))
    heading = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", heading) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def image_folder(folder: Path, count: int = 15) -> Path:
    """`count` dark images and as many light ones, a folder each."""
    for number in range(2 * count):
        label = ("dark", "light")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(png(2 * number + 128 * (number % 2)))
    return folder


def image_model(folder: Path, size: int = 8) -> Path:
    """A classifier of images of `size` × `size`, whose processor makes them 8 × 8."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=size, patch_size=4,
        id2label={0: "dark", 1: "light"},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder
