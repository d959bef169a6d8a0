"""Of a model's repository its configuration, its tokenizer and its weights are taken, once and without pickle."""

from __future__ import annotations

import pytest

from benchmarks.hub.fetch import matching, model_patterns
from benchmarks.hub.repository import HubFile, HubMistake, Repository

CONFIG = ("config.json",)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
PICKLED = ("pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin")
COMMIT = "c0ffee" + "0" * 34


def repository(*paths: str) -> Repository:
    return Repository("model", "org/name", None, COMMIT, tuple(HubFile(path, 1, None) for path in paths))


def taken(*paths: str, allow_pickle: bool = False) -> set[str]:
    found = repository(*paths)
    return {file.path for file in matching(found, model_patterns(found, allow_pickle=allow_pickle))}


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (("model.safetensors",), ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot")),
        (
            ("model.safetensors",),
            ("onnx/model.onnx", "model.onnx", "openvino/openvino_model.bin", "1_Pooling/config.json"),
        ),
        (("model.safetensors",), ("model.fp16.safetensors", "consolidated.safetensors", "adapter_model.safetensors")),
        (
            ("model.safetensors",),
            ("training_args.bin", "optimizer.pt", "modeling_own.py", "README.md", ".gitattributes"),
        ),
        (("model.safetensors",), ("model.safetensors.index.json", *SHARDS)),
        (("model.safetensors.index.json", *SHARDS), PICKLED),
        (("model.safetensors.index.json", "model.safetensors-00001-of-00001.safetensors"), ("original/x.safetensors",)),
        (("model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"), ()),
        (("model.safetensors", "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json"), ()),
        (("model.safetensors", "spiece.model", "sentencepiece.bpe.model", "source.spm", "chat_template.jinja"), ()),
        (
            (
                "model.safetensors",
                "preprocessor_config.json",
                "processor_config.json",
                "video_preprocessor_config.json",
            ),
            (),
        ),
    ],
)
def test_what_is_taken(wanted: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert taken(*CONFIG, *wanted, *left) == {*CONFIG, *wanted}
    assert taken(*CONFIG, *wanted, *left, allow_pickle=True) == {*CONFIG, *wanted}


@pytest.mark.parametrize("pickled", [("pytorch_model.bin",), PICKLED])
def test_pickle_is_for_those_who_ask_for_it(pickled: tuple[str, ...]) -> None:
    with pytest.raises(HubMistake) as raised:
        taken(*CONFIG, *pickled, "training_args.bin")
    assert str(raised.value) == (
        f"hub: model 'org/name' at c0ffee000000 has its weights as pickle only ({', '.join(pickled)}), and reading a "
        "pickle can run code; --allow-pickle reads it with torch's weights-only unpickler"
    )
    assert taken(*CONFIG, *pickled, "training_args.bin", allow_pickle=True) == {*CONFIG, *pickled}


def test_no_weights_that_may_be_read() -> None:
    with pytest.raises(HubMistake) as raised:
        model_patterns(repository(*CONFIG, "README.md", "onnx/model.onnx", "weights.pt"), allow_pickle=True)
    assert str(raised.value) == (
        "hub: model 'org/name' at c0ffee000000 has no model.safetensors, which is what is read; it has: "
        "onnx/model.onnx, weights.pt"
    )


def test_an_index_without_shards_and_shards_without_an_index() -> None:
    for paths in (("model.safetensors.index.json",), SHARDS):
        with pytest.raises(HubMistake):
            model_patterns(repository(*CONFIG, *paths))


def test_not_a_transformers_model() -> None:
    with pytest.raises(HubMistake) as raised:
        model_patterns(repository("model.gguf", "sub/config.json", "a\nb"))
    assert str(raised.value) == (
        "hub: model 'org/name' at c0ffee000000 has no config.json: not a transformers model; it has: "
        "'a\\nb', model.gguf"
    )


def test_a_name_with_a_star_matches_itself_only() -> None:
    assert taken(*CONFIG, "model.safetensors", "vocab*.json", "vocab[1].json") == {
        *CONFIG, "model.safetensors", "vocab*.json", "vocab[1].json",
    }  # fmt: skip
    found = repository(*CONFIG, "model.safetensors", "vocab*.json", "sub/vocab-x.json")
    assert "sub/vocab-x.json" not in {file.path for file in matching(found, model_patterns(found))}
