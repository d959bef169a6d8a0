"""Which files of a repository a transformers model is made of: its configuration, its tokenizer, its weights once.

Many repositories hold the same weights several times: for other frameworks, in ONNX, in other precisions, in
folders. Only what transformers reads from the top folder is taken, and of that only safetensors, unless pickle is
asked for: reading a pickle can run code.
"""

from __future__ import annotations

import fnmatch
import re

from benchmarks.hub.errors import HubMistake, shown
from benchmarks.hub.names import listed
from benchmarks.hub.repository import Repository

BESIDE_WEIGHTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer*.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "vocab*.json",
    "vocab*.txt",
    "merges.txt",
    "bpe.codes",
    "*.bpe",
    "*.model",  # sentencepiece: tokenizer.model, spiece.model, …
    "*.spm",
    "*.tiktoken",
    "normalizer.json",
    "*preprocessor_config.json",
    "*processor_config.json",
    # What says that there is more to a model than its weights, and has to be followed or refused.
    "config_sentence_transformers.json",
    "adapter_config.json",
    "hf_quant_config.json",
    "quant*_config.json",
)
"""Patterns of the files of the top folder that are wanted beside the weights."""
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", r"model(\.safetensors)?-\d+-of-\d+\.safetensors")
_PICKLE = ("pytorch_model.bin", "pytorch_model.bin.index.json", r"pytorch_model-\d+-of-\d+\.bin")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf")


def model_patterns(repository: Repository, *, allow_pickle: bool = False) -> tuple[str, ...]:
    """The names of the files to fetch, one pattern each, for `fetch` and `total_bytes`.

    With `allow_pickle`, `pytorch_model.bin` where there are no safetensors. Raises HubMistake, one line, where there
    is no configuration or no weights that may be read.
    """
    top = sorted(file.path for file in repository.files if "/" not in file.path)
    what = shown(repository.kind, repository.name, repository.commit)
    if "config.json" not in top:
        raise HubMistake(f"hub: {what} has no config.json: not a transformers model; it has: {listed(top)}")
    beside = [path for path in top if any(fnmatch.fnmatchcase(path, pattern) for pattern in BESIDE_WEIGHTS)]
    weights = _weights(top, *_SAFETENSORS)
    if not weights and (pickle := _weights(top, *_PICKLE)):
        if not allow_pickle:
            raise HubMistake(
                f"hub: {what} has its weights as pickle only ({listed(pickle)}), and reading a pickle can run code; "
                "--allow-pickle reads it with torch's weights-only unpickler"
            )
        weights = pickle
    if not weights:
        others = [file.path for file in repository.files if file.path.endswith(_WEIGHTS)]
        raise HubMistake(
            f"hub: {what} has no model.safetensors, which is what is read; it has: {listed(others or top)}"
        )
    return tuple(re.sub(r"([*?[])", r"[\1]", path) for path in (*beside, *weights))


def _weights(top: list[str], single: str, index: str, shard: str) -> list[str]:
    """The one file, or the index and its shards, or nothing."""
    if single in top:
        return [single]
    shards = [path for path in top if re.fullmatch(shard, path)]
    return [index, *shards] if index in top and shards else []
