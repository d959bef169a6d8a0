"""Generating with a key-value cache: what prefill and decode workloads need of a runtime, and torch's own."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from compressors.interface import Unsupported


class Generator(Protocol):
    """A language model with its key-value cache, for one batch at a time. Greedy: the likeliest token follows."""

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """Read the prompts `ids`, (batch, tokens) int64, all of one length, into an empty cache; the first new token
        of each, (batch,) int64."""
        ...

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """The `count` tokens that follow the prompts of the last `prefill` and `first`, the token after them:
        (batch,) -> (batch, count). Leaves the cache as `prefill` left it, so that it can be asked again."""
        ...


class TorchGenerator:
    """A causal language model of transformers in eager torch, on whatever device it is on."""

    def __init__(self, model: nn.Module, device: str) -> None:
        import transformers

        if not isinstance(model, transformers.GenerationMixin) or not hasattr(model, "lm_head"):
            raise Unsupported(f"{type(model).__name__} generates no text: no prefill and no decode")
        self._model: Any = model
        self._device = device
        self._empty = transformers.DynamicCache
        self._cache: Any = None

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """See Generator."""
        with torch.inference_mode():
            self._cache = self._empty(config=self._model.config)
            return self._next(torch.from_numpy(ids).to(self._device)).cpu().numpy()

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """See Generator."""
        with torch.inference_mode():
            token, found = torch.from_numpy(first).to(self._device), []
            for _ in range(count):
                token = self._next(token[:, None])
                found.append(token)
            self._cache.crop(-count)  # negative: so many at the end
            return torch.stack(found, 1).cpu().numpy()

    def _next(self, ids: Tensor) -> Tensor:
        # Only the last position's logits: a vocabulary for each token of a prompt is work that nobody asks for.
        found = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return found.logits[:, -1].argmax(-1)
