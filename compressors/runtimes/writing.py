"""Writing from source texts: what `generate` workloads need of a runtime, and torch's own."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from compressors.interface import Unsupported
from compressors.runtimes.generation import behind_encoder


class Writer(Protocol):
    """An encoder with a decoder. Greedy: the likeliest token follows."""

    def write(self, sources: np.ndarray, start: int, count: int) -> np.ndarray:
        """The `count` tokens that follow the token `start` for each of the `sources`, (batch, tokens) int64 without
        padding: (batch, count) int64. One that ends a text is written like any other, and what follows it too; nothing
        is forced or forbidden. Each source is read once, and each token once.

        Raises Unsupported where it cannot begin with that token."""
        ...


class TorchWriter:
    """A model of transformers in eager torch, on whatever device it is on: what its `generate` does greedily, with
    transformers' own caches of both attentions of the decoder."""

    def __init__(self, model: nn.Module, device: str) -> None:
        if not behind_encoder(model):
            raise Unsupported(f"{type(model).__name__} is no encoder with a decoder: no generate")
        if getattr(model, "own_cache", None) is not None:
            raise Unsupported("its cache is a method's own, which is not asked of a decoder behind an encoder")
        self._model: Any = model
        self._device = device

    def write(self, sources: np.ndarray, start: int, count: int) -> np.ndarray:
        """See Writer."""
        import transformers

        with torch.inference_mode():
            ids = torch.from_numpy(sources).to(self._device)
            mask = torch.ones_like(ids)
            encoded = self._model.get_encoder()(input_ids=ids, attention_mask=mask)
            cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
            token, found = torch.full((len(ids), 1), start, device=self._device), []
            for _ in range(count):
                answer = self._model(
                    encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=token, past_key_values=cache,
                    use_cache=True,
                )  # fmt: skip
                token = answer.logits[:, -1:].argmax(-1)
                found.append(token)
            return torch.cat(found, 1).cpu().numpy()
