"""A GGUF file executed by llama.cpp, through the C functions that llama-cpp-python declares.

The artifact is `model.gguf`, the same as that of the runtime `gguf`, which only scores it.
"""

from __future__ import annotations

import ctypes
import functools
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.base import Forward
from compressors.runtimes.files import Files
from compressors.runtimes.generation import Generator
from compressors.runtimes.gguf import FILE, GgufRuntime

TOKENS = 2048
"""Tokens that are read at once where texts are scored: the logits of so many are held beside their copy."""


class LlamaCpp(GgufRuntime):
    """On the CPU, with the key-value cache that llama.cpp takes unless it is told otherwise: fp16."""

    name: ClassVar[str] = "llamacpp"
    requires: ClassVar[Mapping[str, str]] = {"llama_cpp": "llama-cpp-python"}
    generates: ClassVar[bool] = True
    scored_alone: ClassVar[str | None] = None

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        if isinstance(model, Files):
            model.copy(directory)
        else:
            model.write(directory / FILE)

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        folder = tempfile.TemporaryDirectory(prefix="pressbench-gguf-")
        weakref.finalize(model, folder.cleanup)  # llama.cpp maps the file, and reads of it what it needs
        self.save(model, Path(folder.name), {})
        return self.load(Path(folder.name), {}, device=device, threads=threads)

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        model = _Model(directory / FILE, device, threads)

        def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            ids = inputs["input_ids"]
            there = inputs.get("attention_mask", np.ones_like(ids)).astype(bool)
            found = np.zeros((*ids.shape, model.vocabulary), np.float32)
            some = max(1, TOKENS // ids.shape[1])
            for start in range(0, len(ids), some):
                part = slice(start, start + some)
                texts = [row[own] for row, own in zip(ids[part], there[part], strict=True)]
                found[part][there[part]] = model.read(texts)
            return found

        return forward

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        return _Generator(_Model(directory / FILE, device, threads), directory / FILE)


class _Model:
    """The file in memory, and a context of llama.cpp that is as large as what it was asked for so far."""

    def __init__(self, file: Path, device: str, threads: int) -> None:
        if device != "cpu":
            raise PressbenchError(f"llama.cpp runs on the CPU here, not on {device}")
        self._lib, self._said = library()
        settings = self._lib.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._said.clear()
        self.model = self._lib.llama_model_load_from_file(str(file).encode(), settings)
        if not self.model:
            raise Unsupported(f"llama.cpp does not load it: {self._why()}")
        weakref.finalize(self, self._lib.llama_model_free, self.model).atexit = False
        self.vocabulary = int(self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self.model)))
        self._threads = threads
        self._context: Any = None
        self._texts = self._tokens = 0

    def room(self, texts: int, tokens: int) -> None:
        """A context, and an empty cache, for so many texts of so many tokens each."""
        if texts > self._texts or tokens > self._tokens:
            self._texts, self._tokens = max(texts, self._texts), max(tokens, self._tokens)
            if self._context is not None:
                self._context.close()
            settings = self._lib.llama_context_default_params()
            settings.n_ctx = settings.n_batch = self._texts * self._tokens
            settings.n_seq_max = self._texts
            settings.n_threads = settings.n_threads_batch = self._threads
            settings.no_perf = True
            self._said.clear()
            found = self._lib.llama_init_from_model(self.model, settings)
            if not found:
                raise PressbenchError(f"llama.cpp makes no context of {settings.n_ctx:,} tokens: {self._why()}")
            self._context = _Context(self._lib, found)
        self._context.clear()

    def read(self, texts: list[np.ndarray]) -> np.ndarray:
        """The logits of all tokens of texts, one text after the other: (tokens, vocabulary) float32, until the next
        call. texts: (tokens,) each, some of which may have none."""
        lengths = [len(text) for text in texts]
        if not sum(lengths):
            return np.zeros((0, self.vocabulary), np.float32)
        self.room(len(texts), max(lengths))
        places = np.concatenate([np.arange(length) for length in lengths])
        return self.step(np.concatenate(texts), places, np.repeat(np.arange(len(texts)), lengths))

    def step(
        self, ids: np.ndarray, places: np.ndarray, texts: np.ndarray, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Tokens put behind what is cached, (tokens,) each. places: in their text. texts: which one. asked: whose
        logits are wanted, None for all. (asked, vocabulary) float32, until the next call."""
        count = len(ids)
        token, pos = ids.astype(np.int32), places.astype(np.int32)
        owner, one = texts.astype(np.int32), np.ones(count, np.int32)
        wanted = np.ones(count, np.int8) if asked is None else asked.astype(np.int8)
        owners = owner.ctypes.data + owner.itemsize * np.arange(count, dtype=np.uint64)  # the address of each
        batch = self._lib.llama_batch(
            n_tokens=count,
            token=_at(token, ctypes.c_int32),
            embd=None,
            pos=_at(pos, ctypes.c_int32),
            n_seq_id=_at(one, ctypes.c_int32),
            seq_id=_at(owners, ctypes.POINTER(ctypes.c_int32)),
            logits=_at(wanted, ctypes.c_int8),
        )
        context = self._context.found
        self._said.clear()
        if code := self._lib.llama_decode(context, batch):
            raise PressbenchError(f"llama.cpp stopped at {count} tokens with code {code}: {self._why()}")
        logits = self._lib.llama_get_logits(context)
        return np.ctypeslib.as_array(logits, (int(wanted.sum()), self.vocabulary))

    def forget(self, text: int, start: int) -> None:
        """Drop what is cached of a text from a place on."""
        memory = self._lib.llama_get_memory(self._context.found)
        if not self._lib.llama_memory_seq_rm(memory, text, start, -1):
            raise PressbenchError("llama.cpp does not take tokens out of the cache of this model")

    def bytes_cached(self, tokens: int) -> int:
        """Bytes of the keys and values of so many tokens."""
        lib, model = self._lib, self.model
        head = lib.llama_model_n_embd(model) // lib.llama_model_n_head(model)
        head = self._said_of("attention.key_length", head) + self._said_of("attention.value_length", head)
        half = np.dtype(np.float16).itemsize
        return int(lib.llama_model_n_layer(model) * lib.llama_model_n_head_kv(model) * head * tokens * half)

    def _said_of(self, key: str, otherwise: int) -> int:
        """A whole number of the file's metadata, by its name without the architecture."""
        space = ctypes.create_string_buffer(128)

        def said(name: str) -> str | None:
            found = self._lib.llama_model_meta_val_str(self.model, name.encode(), space, len(space))
            return None if found < 0 else space.value.decode()

        return int(said(f"{said('general.architecture')}.{key}") or otherwise)

    def _why(self) -> str:
        return self._said[0] if self._said else "no reason was given"  # what follows is that it failed


class _Context:
    def __init__(self, lib: Any, found: Any) -> None:
        self._lib, self.found = lib, found
        self.close = weakref.finalize(self, lib.llama_free, found)
        self.close.atexit = False

    def clear(self) -> None:
        """Empty its cache."""
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self.found), False)


class _Generator:
    """See Generator."""

    def __init__(self, model: _Model, file: Path) -> None:
        self._model, self._file = model, file
        self._texts = self._tokens = self._added = 0

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """See Generator."""
        self._texts, self._tokens = ids.shape
        self._added = 0
        self._model.room(self._texts, self._tokens + AHEAD)
        last = np.zeros(ids.shape, bool)
        last[:, -1] = True
        texts = np.repeat(np.arange(self._texts), self._tokens)
        places = np.tile(np.arange(self._tokens), self._texts)
        logits = self._model.step(ids.ravel(), places, texts, last.ravel())
        return logits.argmax(1).astype(np.int64)

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """See Generator."""
        if count > AHEAD:
            raise PressbenchError(f"the runtime llamacpp generates {AHEAD} tokens at most at once, not {count}")
        self.rewind()
        token, texts, found = first, np.arange(self._texts), []
        for step in range(count):
            self._added = step + 1
            places = np.full(self._texts, self._tokens + step)
            token = self._model.step(token, places, texts).argmax(1)
            found.append(token)
        return np.stack(found, 1).astype(np.int64)

    def rewind(self) -> None:
        """See Generator."""
        if self._added:
            for text in range(self._texts):
                self._model.forget(text, self._tokens)
        self._added = 0

    def bytes_read(self) -> int:
        """See Generator."""
        return _weights_read(self._file) + self.bytes_cached()

    def bytes_cached(self) -> int:
        """See Generator."""
        return self._model.bytes_cached(self._texts * self._tokens)


AHEAD = 512
"""Tokens that a cache has room for behind its prompts."""


def _weights_read(file: Path) -> int:
    """Bytes of the tensors that a pass reads as a whole: the table of the vocabulary only where it is the head too."""
    import gguf

    sizes = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(str(file)).tensors}
    return sum(sizes.values()) - (sizes.get("token_embd.weight", 0) if "output.weight" in sizes else 0)


def _at(values: np.ndarray, kind: Any) -> Any:
    return values.ctypes.data_as(ctypes.POINTER(kind))


@functools.cache
def library() -> tuple[Any, list[str]]:
    """llama.cpp's functions, and the errors that it has told so far: its log goes nowhere else."""
    from llama_cpp import llama_cpp as lib

    said: list[str] = []

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, _: Any) -> None:
        if level == _ERROR:
            said.append(" ".join(text.decode(errors="replace").split()))
            del said[:-8]

    lib.llama_log_set(log, ctypes.c_void_p(0))
    lib.llama_backend_init()
    said.clear()
    _KEPT.append(log)
    return lib, said


_ERROR = 4
"""The level of an error: GGML_LOG_LEVEL_ERROR."""
_KEPT: list[Any] = []
"""What llama.cpp calls, which Python must not forget."""
