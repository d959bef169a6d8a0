"""Decoding in steps of one fixed shape: transformers' StaticCache, and the step captured as a CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

WARM = 3
"""Steps before a capture, on a stream of their own, as torch's notes on CUDA graphs ask for."""


class StaticDecoder:
    """A causal language model of transformers that decodes one text, greedily. length: tokens that its cache holds."""

    def __init__(self, model: Any, device: str, length: int) -> None:
        from transformers import StaticCache

        self._model, self._device = model, device
        self._cache = StaticCache(config=model.config, max_cache_len=length)
        self._token = torch.zeros(1, 1, dtype=torch.int64, device=device)
        self._graph: Any = None

    def prefill(self, ids: np.ndarray) -> int:
        """Read the prompt, (1, tokens), into an empty cache; the token after it."""
        with torch.inference_mode():
            self._cache.reset()
            self._token.copy_(self._next(torch.from_numpy(ids).to(self._device)))
            return int(self._token)

    def capture(self, ids: np.ndarray) -> None:
        """Make a graph of one step. ids: any prompt, which is read to warm up; the next one begins anew."""
        self.prefill(ids)
        with torch.inference_mode(), torch.cuda.device(self._device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    self._step()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()
            self._graph = graph

    def decode(self, count: int) -> np.ndarray:
        """The `count` tokens after the last one, (count,)."""
        with torch.inference_mode():
            found = []
            for _ in range(count):
                if self._graph is None:
                    self._step()
                else:
                    self._graph.replay()
                found.append(self._token.clone())
            return torch.cat(found).flatten().cpu().numpy()

    def _step(self) -> None:
        self._token.copy_(self._next(self._token))

    def _next(self, ids: Tensor) -> Tensor:
        answer = self._model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        following: Tensor = answer.logits[:, -1].argmax(-1, keepdim=True)
        return following
