"""Generating with a key-value cache: what prefill and decode workloads need of a runtime, and torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
        (batch,) -> (batch, count). It may be asked again: what an earlier one cached is dropped, see `rewind`."""
        ...

    def rewind(self) -> None:
        """Put the cache back to what the last `prefill` left. `decode` does so itself; who times it asks before."""
        ...

    def bytes_read(self) -> int:
        """Bytes that the first token after the last `prefill` makes it read: the weights once, tables of which it
        reads single rows left out, and the keys and values of the prompts."""
        ...

    def bytes_cached(self) -> int:
        """Bytes of the keys and values alone, as they are held."""
        ...


def greedy(following: Callable[[np.ndarray], np.ndarray], first: np.ndarray, count: int) -> np.ndarray:
    """The `count` tokens after `first`, (batch,) -> (batch, count). following: of a token of each text, (batch, 1), the
    next, (batch,)."""
    token, found = first, []
    for _ in range(count):
        token = following(token[:, None])
        found.append(token)
    return np.stack(found, 1)


class TorchGenerator:
    """A causal language model of transformers in eager torch, on whatever device it is on."""

    def __init__(self, model: nn.Module, device: str) -> None:
        if not generates(model):
            raise Unsupported(f"{type(model).__name__} generates no text: no prefill and no decode")
        if behind_encoder(model):
            raise Unsupported(f"{type(model).__name__} goes on from no prompt: no prefill and no decode")
        self._model: Any = model
        self._device = device
        self._empty = cache_of(model)
        self._cache: Any = None
        self._added = 0

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """See Generator."""
        with torch.inference_mode():
            self._cache, self._added = self._empty(), 0
            first = self._next(torch.from_numpy(ids).to(self._device)).cpu().numpy()
            self._cache.activate_past_recording()  # or what slides out of a window could not be put back
            return first

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """See Generator."""
        self.rewind()
        self._added = count
        with torch.inference_mode():
            token, found = torch.from_numpy(first).to(self._device), []
            for _ in range(count):
                token = self._next(token[:, None])
                found.append(token)
            return torch.stack(found, 1).cpu().numpy()

    def rewind(self) -> None:
        """See Generator."""
        self._cache.crop(-self._added)  # negative: so many at the end
        self._added = 0

    def bytes_read(self) -> int:
        """See Generator."""
        return read_bytes(self._model) + self.bytes_cached()

    def bytes_cached(self) -> int:
        """See Generator."""
        self.rewind()
        return sum(values.nbytes for values in _held(self._cache.layers, set()))

    def _next(self, ids: Tensor) -> Tensor:
        # Only the last position's logits: a vocabulary for each token of a prompt is work that nobody asks for.
        for answer in read(self._model, {"input_ids": ids}, self._cache, logits_to_keep=1):
            last = answer.logits[:, -1]
        return last.argmax(-1)


def generates(model: nn.Module) -> bool:
    """Whether it is a language model of transformers that makes text from text by itself."""
    import transformers

    return isinstance(model, transformers.GenerationMixin) and hasattr(model, "lm_head")


def behind_encoder(model: nn.Module) -> bool:
    """Whether what it makes is made of another text, which an encoder reads."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def layered(model: nn.Module, layer: Callable[[], Any]) -> Callable[[], Any]:
    """What makes an empty cache for a language model out of such layers, one for each of its own."""
    config: Any = model.config

    def empty() -> Any:
        import transformers
        from transformers.cache_utils import CacheLayerMixin

        layers: list[Any] = [layer() for _ in range(config.num_hidden_layers)]
        CacheLayerMixin.register(type(layers[0]))  # which cannot be a subclass: importing it takes seconds
        return transformers.Cache(layers=layers)

    return empty


def cache_of(model: nn.Module) -> Callable[[], Any]:
    """What makes an empty key-value cache for it: `own_cache`, where a method gave it one, else transformers' own. Its
    own is a Cache of transformers whose layers may say by `room()` how many tokens they can be given at once."""
    import transformers

    known: Any = model
    return getattr(model, "own_cache", None) or partial(transformers.DynamicCache, config=known.config)


def read(model: nn.Module, inputs: Mapping[str, Tensor], cache: Any, **more: Any) -> Iterator[Any]:
    """What the model answers to texts that go on from what is in the cache, in blocks as large as the cache takes.
    inputs: (batch, tokens) each; a mask, of the texts alone, only where the cache is empty."""
    done, total = 0, inputs["input_ids"].shape[1]
    while done < total:
        end = min([total, *(done + layer.room() for layer in cache.layers if hasattr(layer, "room"))])
        block = {n: values[:, :end] if n == "attention_mask" else values[:, done:end] for n, values in inputs.items()}
        yield model(**block, past_key_values=cache, use_cache=True, **more)
        done = end


def _held(what: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors that it holds, and those that what it holds does, each once: counted, and not by what it says."""
    if id(what) not in seen:
        seen.add(id(what))
        if isinstance(what, Tensor):
            yield what
        else:
            for part in what if isinstance(what, list | tuple) else list(getattr(what, "__dict__", {}).values()):
                yield from _held(part, seen)


def read_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers that a pass reads as a whole, shared ones once: not an embedding, unless an
    output layer shares its weights."""
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    sizes: dict[int, int] = {}

    def add(module: nn.Module, whole: bool) -> None:
        if whole or (module is not table and not isinstance(module, nn.Embedding)):
            for values in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                sizes[values.data_ptr()] = values.nbytes
            for child in module.children():
                add(child, whole or module is head)

    add(model, False)
    return sum(sizes.values())
