"""CTranslate2 on the CPU, for encoders with a decoder. The artifact is what its converter writes.

It writes by itself, and tells the logits of every token that it writes or is told to write. So a pass over a text is
made by telling it that text, by the same code that generates, and is scored as one; as a pass it is not timed.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.layers import by_layer
from compressors.runtimes.writing import Writer

WEIGHTS, NAMES = "model.bin", "shared_vocabulary.json"
STORED = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
"""Types by their numbers in a file."""


class CTranslate2(Runtime):
    """Greedily, one batch at a time, with its own caches."""

    name: ClassVar[str] = "ctranslate2"
    requires: ClassVar[Mapping[str, str]] = {"ctranslate2": "ctranslate2"}
    writes: ClassVar[bool] = True
    step_by_step: ClassVar[str | None] = "makes a pass token by token"

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        model.copy(directory)
        manifest["payload"] = model.payload

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        from compressors.runtimes.ctranslate2_writing import Converted

        return Converted(directory, **manifest["payload"])

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return _loaded(model.folder, model.payload, options, device, threads, model).forward

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return _loaded(directory, manifest["payload"], manifest["options"], device, threads).forward

    def writer(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Writer:
        return _loaded(directory, manifest["payload"], manifest["options"], device, threads)

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        parameters = nonzero = 0
        dtypes: Counter[str] = Counter()
        sizes, weights = [], []
        for name, shape, dtype, raw in variables(directory / WEIGHTS):
            sizes.append((name, len(raw)))
            if not shape or name.endswith("weight_scale"):
                continue  # settings of a layer, and what codes are multiplied by
            count = math.prod(shape)
            parameters += count
            dtypes[dtype] += count
            width = len(raw) // max(1, count)
            nonzero += int(np.frombuffer(raw, f"u{width}").astype(bool).sum())
            weights.append((name, count))
        return Inventory(parameters, nonzero, dict(dtypes), {}, by_layer(sizes, weights))


def _loaded(
    folder: Path, payload: Mapping[str, int], options: Mapping[str, Any], device: str, threads: int, kept: Any = None
) -> Loaded:  # fmt: skip
    if device != "cpu":
        raise PressbenchError(f"CTranslate2 runs on the CPU here, not on {device}")
    return Loaded(folder, payload, options["compute_type"], threads, kept)


class Loaded:
    """See Writer. payload: the token that texts begin with, and how many tokens the model of transformers has. kept:
    what must not go before it."""

    def __init__(
        self, folder: Path, payload: Mapping[str, int], compute_type: str, threads: int, kept: Any = None
    ) -> None:  # fmt: skip
        import ctranslate2

        known = ctranslate2.get_supported_compute_types("cpu")
        if compute_type not in known:
            raise Unsupported(f"CTranslate2 computes nothing in {compute_type} on this processor")
        self._translator: Any = ctranslate2.Translator(
            str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        if (used := self._translator.compute_type) != compute_type:
            raise PressbenchError(f"CTranslate2 computes in {used}, where {compute_type} was asked for")
        self._names, self._kept = self.names(folder), kept
        self._start, self._rows = payload["start"], payload["vocabulary"]

    @staticmethod
    def names(folder: Path) -> list[str]:
        """The names of the tokens, their numbers."""
        return list(json.loads((folder / NAMES).read_text(encoding="utf-8")))

    def write(self, sources: np.ndarray, start: int, count: int) -> np.ndarray:
        """See Writer."""
        self._begins(start)
        return np.array(
            [[int(name) for name in found.hypotheses[0]] for found in self._said(self._named(sources), None, count)],
            np.int64,
        )

    def forward(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits of all places of `decoder_input_ids`, as a forward pass has them. Of a token that CTranslate2 leaves
        out, which is Marian's padding, they are the least of the others."""
        ids, said = inputs["input_ids"], inputs["decoder_input_ids"]
        self._begins(*np.unique(said[:, 0]).tolist())
        there = inputs.get("attention_mask", np.ones_like(ids)).astype(bool)
        sources = [self._named(row[None, own])[0] for row, own in zip(ids, there, strict=True)]
        told = self._named(said[:, 1:]) if said.shape[1] > 1 else None
        found = np.empty((*said.shape, self._rows), np.float32)
        known = len(self._names)
        for row, answer in enumerate(self._said(sources, told, said.shape[1], logits=True)):
            if told and answer.hypotheses[0][: len(told[row])] != told[row]:
                raise PressbenchError("CTranslate2 did not write what it was told to")
            for place, logits in enumerate(answer.logits[0]):
                found[row, place, :known] = np.asarray(logits)
        found[..., known:] = found[..., :known].min(-1, keepdims=True)
        return found

    def _said(self, sources: Any, told: Any, count: int, logits: bool = False) -> Any:
        """What it writes, `count` tokens each. told: what they begin with."""
        found = self._translator.translate_batch(
            sources,
            told,
            beam_size=1,
            max_decoding_length=count,
            min_decoding_length=0,
            end_token=[len(self._names)],  # none: what ends a text is a token like any other
            max_input_length=0,  # as long as they are
            return_logits_vocab=logits,
        )
        lengths = {len(one.hypotheses[0]) for one in found}
        if lengths != {count}:
            raise PressbenchError(f"CTranslate2 wrote {sorted(lengths)} tokens where {count} were asked for")
        return found

    def _named(self, ids: np.ndarray) -> list[list[str]]:
        # A padding that is left out of the vocabulary comes after the end of a text alone, where nothing is scored.
        last = len(self._names) - 1
        return [[self._names[min(token, last)] for token in row] for row in ids.tolist()]

    def _begins(self, *starts: int) -> None:
        if starts != (self._start,):
            said = ", ".join(map(str, starts))
            raise Unsupported(f"CTranslate2 begins texts with token {self._start}, the data with {said}")


def variables(path: Path) -> Iterator[tuple[str, tuple[int, ...], str, bytes]]:
    """What a file of CTranslate2 holds: path of the layer, shape, type, bytes. Shared ones are there once."""
    with path.open("rb") as file:
        _number(file, "I")
        _string(file)
        _number(file, "I")
        for _ in range(_number(file, "I")):
            name = _string(file).replace("/", ".").replace("layer_", "layer.")
            shape = tuple(_number(file, "I") for _ in range(_number(file, "B")))
            dtype = STORED[_number(file, "B")]
            yield name, shape, dtype, file.read(_number(file, "I"))


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()
