"""One path on the real weights and the real documents: assets, task, tokenizer, model, compressors.

Nothing is fine-tuned here, that takes minutes and is what `make bench` does."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import datasets
import pytest
import torch
import transformers
from torch import Tensor, nn

from benchmarks.cache import Cache
from benchmarks.zoo import find_model
from benchmarks.zoo.assets import minilm
from compressors import registry
from compressors.interface import Context, Examples, Hardware

sys.path.append(str(Path(__file__).parent))
from real_assets import cache_with

pytestmark = pytest.mark.real
MODEL = find_model("minilm-bbc")


@pytest.fixture(scope="module")
def cache() -> Cache:
    return cache_with(MODEL)


@pytest.fixture(scope="module")
def splits(cache: Cache) -> datasets.DatasetDict:
    return MODEL.task.load(cache)


@pytest.fixture(scope="module")
def sample(splits: datasets.DatasetDict, cache: Cache) -> Examples:
    """Eight documents of each class."""
    labels = splits["test"]["label"][:]
    rows = [i for c in range(5) for i in [k for k, label in enumerate(labels) if label == c][:8]]
    return MODEL.encode(splits["test"].select(rows), cache)


@pytest.fixture
def model(cache: Cache) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(**MODEL.config())
    return transformers.BertForSequenceClassification.from_pretrained(
        minilm.ASSET.folder(cache), config=config, local_files_only=True, use_safetensors=True
    ).eval()


@torch.inference_mode()
def sentences(model: nn.Module, sample: Examples) -> Tensor:
    """Mean-pooled, normalised embeddings, as all-MiniLM-L6-v2 is meant to be used."""
    states = model.bert(**sample.inputs).last_hidden_state
    mask = sample.inputs["attention_mask"].unsqueeze(-1)
    return nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def test_the_split_has_every_document_once(splits: datasets.DatasetDict) -> None:
    texts = splits["train"]["text"][:] + splits["test"]["text"][:]
    assert len(texts) == len(set(texts)) == 2225 - 98
    assert len(splits["test"]) == MODEL.task.test_examples >= 1000
    shares = [Counter(splits[name]["label"][:]) for name in ("train", "test")]
    assert all(abs(shares[0][c] - shares[1][c]) <= 1 for c in range(5))


def test_the_weights_are_the_pretrained_ones(model: nn.Module, sample: Examples) -> None:
    """The encoder tells desks apart without training: the nearest other document is mostly of the same class."""
    found = sentences(model, sample)
    likeness = found @ found.T - 2 * torch.eye(len(found))
    labels = sample.labels
    assert labels is not None
    assert float((labels[likeness.argmax(1)] == labels).float().mean()) >= 0.8


@pytest.mark.parametrize("name,least", [("quantize-weights-8bit", 0.999), ("quantize-weights-4bit-g64", 0.9)])
def test_quantized_weights_keep_the_embeddings(model: nn.Module, sample: Examples, name: str, least: float) -> None:
    before = sentences(model, sample)
    hardware = Hardware("cpu", "cpu-generic", threads=1)
    context = Context(model=MODEL.spec(), hardware=hardware, dense=lambda: model)
    after = sentences(registry.variants()[name].compress(model, context).model, sample)
    cosine = (before * after).sum(1)
    assert least < float(cosine.min()) and float(cosine.max()) < 1 - 1e-7
