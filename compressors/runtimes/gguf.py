"""A GGUF file read by transformers, its weights decoded to fp32: what it answers, not how fast llama.cpp does.

For where llama.cpp is not installed; with it, see `llamacpp.py`. The artifact is `model.gguf`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from compressors.interface import Unsupported
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.files import copy_files
from compressors.runtimes.layers import by_layer
from compressors.runtimes.torch import TorchRuntime

FILE = "model.gguf"


class GgufRuntime(Runtime):
    """For scoring alone."""

    name: ClassVar[str] = "gguf"
    scored_alone: ClassVar[str | None] = "what runs a GGUF file is llama.cpp, which is not installed"

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        copy_files(model, directory, self.name)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> nn.Module:
        import transformers

        try:
            found: Any = transformers.AutoModelForCausalLM.from_pretrained(
                directory, gguf_file=FILE, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # of many kinds, for an architecture or a type of weights that it does not read
            raise Unsupported(" ".join(str(error).split())[:300] or type(error).__name__) from None
        found.config.use_cache = False  # passes over whole texts fill none
        whole: nn.Module = found.eval()
        return whole

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return TorchRuntime().attach(model, options, device=device, threads=threads)

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return self.attach(self.read(directory, manifest), manifest["options"], device=device, threads=threads)

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        import gguf

        dtypes: Counter[str] = Counter()
        parameters = nonzero = 0
        sizes, weights = [], []
        for tensor in gguf.GGUFReader(str(directory / FILE)).tensors:
            count, name = int(tensor.n_elements), _path(tensor.name)
            parameters += count
            nonzero += int(np.count_nonzero(gguf.dequantize(tensor.data, tensor.tensor_type)))
            dtypes[tensor.tensor_type.name.lower()] += count
            sizes.append((name, int(tensor.n_bytes)))
            weights.append((name, count))
        return Inventory(parameters, nonzero, dict(dtypes), {}, by_layer(sizes, weights))


def _path(name: str) -> str:
    """llama.cpp's name of a tensor as a path of modules, so that its blocks are told apart."""
    return f"model.{name}" if name.startswith("blk.") else name
