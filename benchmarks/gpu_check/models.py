"""Language models of random weights, made where they run, and what they answer by plain passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.skeleton import skeleton

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def language_model(config: Mapping[str, Any], device: str, dtype: torch.dtype) -> Any:
    """The model of that configuration: the same weights for every type on a device, rounded to it."""
    torch.manual_seed(0)
    return surgery.cast(skeleton(config, device=device), dtype)


def prompts(config: Mapping[str, Any], batch: int, tokens: int) -> np.ndarray:
    """(batch, tokens) int64, drawn from the whole vocabulary."""
    return np.random.default_rng(0).integers(0, config["vocab_size"], (batch, tokens), dtype=np.int64)


def gaps(model: Any, ids: np.ndarray, tokens: np.ndarray, device: str) -> np.ndarray:
    """How far each of the `tokens`, (count,), that were made after `ids`, (1, tokens), is from the likeliest one, by a
    plain pass without a cache over all before it: the difference of their logits in standard deviations over the
    vocabulary. 0 where it is the likeliest."""
    found = []
    with torch.inference_mode():
        text = torch.from_numpy(np.concatenate([ids[0], tokens]))[None].to(device)
        for number, token in enumerate(tokens.tolist()):
            logits = model(text[:, : ids.shape[1] + number], use_cache=False, logits_to_keep=1).logits[0, -1].float()
            found.append(float((logits.max() - logits[token]) / logits.std()))
    return np.array(found)


def arithmetic_bytes(config: Mapping[str, Any], bytes_each: int) -> int:
    """Bytes of the weights, from the configuration alone."""
    hidden, groups = config["hidden_size"], config["num_key_value_heads"]
    keys = hidden // config["num_attention_heads"] * groups
    attention = 2 * hidden * hidden + 2 * hidden * keys
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    return bytes_each * (config["num_hidden_layers"] * layer + 2 * config["vocab_size"] * hidden + hidden)


def cache_bytes(config: Mapping[str, Any], tokens: int, bytes_each: int) -> int:
    """Bytes of the keys and values of so many tokens, of all texts of a batch together, from the configuration."""
    width = config["hidden_size"] // config["num_attention_heads"] * config["num_key_value_heads"]
    return 2 * int(config["num_hidden_layers"]) * width * tokens * bytes_each


class LastLogits(nn.Module):
    """A language model that answers for the last tokens of a text only, as reading a prompt asks for no more."""

    def __init__(self, model: nn.Module, keep: int) -> None:
        super().__init__()
        self.model, self.keep = model, keep

    def forward(self, input_ids: Tensor) -> Any:
        return self.model(input_ids, use_cache=False, logits_to_keep=self.keep)
