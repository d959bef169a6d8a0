"""What sentence-transformers wrote beside an embedding model is followed, or the model refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, normalizers

from benchmarks.zoo.dense import read_examples, write_examples
from benchmarks.zoo.own.checkpoint import ModelError
from compressors.interface import Examples, PressbenchError

sys.path.append(str(Path(__file__).parent))
from own_folders import agreed, lines, made, tiny_models, understood


@pytest.mark.parametrize(
    ("file", "said", "told"),
    [
        ("config_sentence_transformers.json", {"similarity_fn_name": "jaccard"}, "compares by 'jaccard': cosine, dot"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query", "prompts": {"query": "query: "}},
            "'query: ' is put before each text by default, 'query: ' before queries and '' before documents",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "querry", "prompts": {"query": "query: "}},
            "default_prompt_name is 'querry': 'query' is there",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": None, "prompts": {"query": "", "passage": "passage: "}},
            "'passage: ' is put before documents by some versions of sentence-transformers and left out by others",
        ),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "an object, name to text, would be right"),
        (
            "modules.json",
            [
                {"type": f"sentence_transformers.models.{kind}", "path": path}
                for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"))
            ],
            "the model is Transformer, Pooling, Dense: Transformer, Pooling and Normalize alone",
        ),
        (
            "modules.json",
            [
                {"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"},
                {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            ],
            "its modules are in '0_Transformer' and '1_Pooling': other folders",
        ),
        ("modules.json", {"no": "list"}, "not readable as a list of modules"),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}, "an object, name to text, would be right"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length is 'long': a number of tokens"),
        ("1_Pooling/config.json", ["cls"], "1_Pooling/config.json: must be a JSON object"),
        ("1_Pooling/config.json", {"pooling_mode_lasttoken": True}, "pools by lasttoken: mean and cls alone"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pools by cls_token, mean_tokens",
        ),
    ],
)
def test_what_is_not_followed_is_refused(file: str, said: Any, told: str, tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    path = tmp_path / "model" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(said))
    with pytest.raises(ModelError, match=told):
        understood(tmp_path, model="model", data="rows.jsonl")


def beside(folder: Path, files: dict[str, Any]) -> None:
    for name, said in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(said))


def test_the_pooling_is_the_one_that_the_modules_name(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    modules = [("Transformer", ""), ("Pooling", "7_Pooling"), ("Normalize", "8_Normalize")]
    files = {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules],
        "7_Pooling/config.json": {"pooling_mode_cls_token": True},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }
    beside(tmp_path / "model", files)
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert model.task.settings["pooling"] == "cls"


@pytest.mark.parametrize(
    ("said", "normalize", "found"),
    [
        (None, False, "cosine"),
        ("cosine", False, "cosine"),
        ("dot", False, "dot"),
        ("euclidean", False, "euclidean"),
        ("manhattan", False, "manhattan"),
        ("dot", True, "cosine"),
        ("euclidean", True, "cosine"),
    ],
)
def test_embeddings_are_compared_as_the_folder_says(said: str, normalize: bool, found: str, tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalize else [])]
    files = {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules],
        "config_sentence_transformers.json": {"similarity_fn_name": said},
    }
    beside(tmp_path / "model", files)
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert model.task.settings["similarity"] == model.task.quality.similarity == found  # type: ignore[attr-defined]
    assert any("compared by" in note for note in model.understood["notes"])


PROMPTS: list[dict[str, Any]] = [
    {"prompts": {"query": "good: ", "document": "the film "}},
    {"prompts": {"query": "good: "}, "default_prompt_name": None},
    {"prompts": {"query": None, "document": "a bad ", "passage": "good: "}},
    {"prompts": {"query": "good: ", "document": "good: ", "all": "good: "}, "default_prompt_name": "all"},
    {"prompts": {"query": "", "document": "", "clustering": "good: "}},
]


@pytest.mark.parametrize("said", PROMPTS, ids=str)
def test_embeddings_are_those_of_sentence_transformers(said: dict[str, Any], tmp_path: Path) -> None:
    """Its own code reads the same folder and embeds the same texts."""
    import sentence_transformers

    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "type": f"sentence_transformers.models.{kind}", "path": path}
            for i, (kind, path) in enumerate(modules)
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
        "2_Normalize/config.json": {},
        "config_sentence_transformers.json": said,
    }
    beside(tmp_path / "model", files)
    model = understood(tmp_path, model="model", data="rows.jsonl")
    dense = made(model, tmp_path)
    agreed(model, dense, tmp_path)
    examples = read_examples(dense.inputs_path)
    network = transformers.BertModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        hidden = network(**examples.inputs).last_hidden_state
    found = model.task.quality.keep(hidden.numpy(), examples)["embeddings"]
    rows = model.task.load(None)["test"]  # type: ignore[arg-type]
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    right = np.concatenate([theirs.encode_query(list(rows["query"])), theirs.encode_document(list(rows["document"]))])
    assert np.abs(found - right).max() < 1e-5
    before = {text for name, text in said["prompts"].items() if text and name in ("query", "document")}
    assert all(any(repr(text) in note for note in model.understood["notes"]) for text in before)


def test_prompts_that_are_left_out_of_the_pooling_are_refused(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    pooled = {"pooling_mode_mean_tokens": True, "include_prompt": False}
    said = {"prompts": {"query": "good: "}}
    beside(tmp_path / "model", {"1_Pooling/config.json": pooled, "config_sentence_transformers.json": said})
    with pytest.raises(ModelError, match="leaves its prompts out of the pooling"):
        understood(tmp_path, model="model", data="rows.jsonl")


def test_pairs_that_do_not_belong_together_are_no_matches(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    labelled = [{**row, "label": number % 3 % 2} for number, row in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert any("80 pairs with 0 in column 'label'" in note for note in model.understood["notes"])
    matching = {row["query"] for row in labelled if row["label"]}
    assert set(model.task.load(None)["test"]["query"]) <= matching  # type: ignore[arg-type]


def test_the_length_and_the_small_letters_that_a_folder_says_are_followed(tmp_path: Path) -> None:
    tiny_models.embedder(tmp_path / "model")  # its tokenizer makes small letters itself
    lines(tmp_path, ("query", "document"))
    beside(tmp_path / "model", {"sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": True}})
    model = understood(tmp_path, model="model", data="rows.jsonl")
    assert model.task.settings["tokens"] == 9
    assert any("longer than 9 tokens and are cut" in note for note in model.understood["notes"])
    made = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    made.normalizer = normalizers.Strip()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    with pytest.raises(ModelError, match="puts texts into small letters, which its tokenizer does not"):
        understood(tmp_path, model="model", data="rows.jsonl")


def test_documents_are_asked_too(tmp_path: Path) -> None:
    """The fault that it is for: the second half of the inputs is prepared in another way than the first."""
    tiny_models.embedder(tmp_path / "model")
    lines(tmp_path, ("query", "document"))
    model = understood(tmp_path, model="model", data="rows.jsonl")
    dense = made(model, tmp_path)
    right = read_examples(dense.inputs_path)
    ids = right.inputs["input_ids"].clone()
    ids[len(ids) // 2 :, 1:] = ids[len(ids) // 2 :, :-1]  # as with a word put before each
    write_examples(Examples({**right.inputs, "input_ids": ids}, right.labels), dense.inputs_path)
    with pytest.raises(PressbenchError, match="8 of 16 answers are others"):
        agreed(model, dense, tmp_path)
