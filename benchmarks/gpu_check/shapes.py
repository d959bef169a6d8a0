"""How large what is checked is: on a GPU as large as what people run, elsewhere tiny, by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LLAMA: Mapping[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}


def llama(hidden: int, layers: int, heads: int, groups: int, intermediate: int, vocabulary: int) -> dict[str, Any]:
    """The configuration of a language model of Llama's kind. groups: of heads, each with keys and values of its own."""
    return {
        **_LLAMA,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
    }


@dataclass(frozen=True)
class Shapes:
    """models: name -> configuration. product: rows and columns of one that takes long enough for a clock. layers:
    (outputs, inputs) of linear layers; rows: of what they are given. prompt, new: tokens read, and made after them.
    batch: of prompts, where the cache is to be large. seconds: of what is repeated for that long."""

    models: Mapping[str, Mapping[str, Any]]
    product: int
    layers: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    prompt: int
    new: int
    batch: int
    long: int
    seconds: float
    repetitions: int


LARGE = Shapes(
    models={
        "1B": llama(2048, 16, 32, 8, 8192, 32000),
        "4 layers of 7B": llama(4096, 4, 32, 32, 11008, 32000),
    },
    product=8192, layers=((11008, 4096), (4096, 4096)), rows=(1, 16, 2048),
    prompt=512, new=32, batch=8, long=1024, seconds=4.0, repetitions=30,
)  # fmt: skip
SMALL = Shapes(
    models={"1B": llama(64, 1, 4, 2, 128, 512), "4 layers of 7B": llama(64, 2, 4, 4, 96, 512)},
    product=256, layers=((384, 256), (256, 256)), rows=(1, 16, 32),
    prompt=16, new=4, batch=2, long=24, seconds=0.2, repetitions=5,
)  # fmt: skip
