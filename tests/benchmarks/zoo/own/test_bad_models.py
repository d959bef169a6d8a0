"""Whatever is wrong with a model of one's own is told in one line, with its place, before anything is made."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.zoo.own.model import OwnModel

sys.path.append(str(Path(__file__).parent))
import tiny_models
from own_folders import named, put
from tiny_models import VOCABULARY, classifier, save


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
    assert configured(quantization_config={"quant_method": "fewest"}).startswith(
        "own: config.json names the quantization 'fewest', which is not read here; those that are: auto-round, "
    )
    assert configured(quantization_config="gptq") == "own/config.json: quantization_config must be a JSON object"
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
    for damaged in ({"weight_map": {"a": 5}}, {"weight_map": ["a"]}, {}):
        index.write_text(json.dumps(damaged))
        assert refusal("own") == "own/model.safetensors.index.json: damaged"
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
