"""transformers on a folder as it is: what `from_pretrained` makes of it, in the type that its weights are stored in.

For models that were not made here. A folder whose configuration names a quantization is read by the library that wrote
it; code of the folder's own is never run, and pickle never read.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from compressors.interface import Unsupported
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.executed import Executed, Uncounted, of_torch
from compressors.runtimes.files import copy_files
from compressors.runtimes.generation import Generator, TorchGenerator, generates
from compressors.runtimes.layers import by_layer
from compressors.runtimes.torch import TorchRuntime, inventory_of, module_types, stored_bytes
from compressors.runtimes.writing import TorchWriter, Writer
from compressors.skeleton import skeleton

CONFIG = "config.json"


class TransformersFolder(Runtime):
    """The class that `architectures` names first, by `from_pretrained`, on torch in eager mode."""

    name: ClassVar[str] = "transformers"
    generates: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        copy_files(model, directory, self.name)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> nn.Module:
        import transformers

        config = _config(directory)
        cls: Any = getattr(transformers, config["architectures"][0])
        with _told_by(_method(config) or "transformers"):
            found: nn.Module = cls.from_pretrained(
                directory, dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        if method := _method(config):
            _telling(found, method)
        return found.eval()

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return TorchRuntime().attach(model, options, device=device, threads=threads)

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        options = {**manifest["options"], "output": manifest.get("output", "logits")}
        return self.attach(_uncached(self.read(directory, manifest)), options, device=device, threads=threads)

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        model = self.read(directory, manifest)
        if not generates(model):
            raise Unsupported(f"{type(model).__name__} writes no tokens after others: no prefill and no decode")
        torch.set_num_threads(threads)
        return TorchGenerator(model.to(device), device)

    def writer(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Writer:
        model = self.read(directory, manifest)
        torch.set_num_threads(threads)
        return TorchWriter(model.to(device), device)

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        model = _uncached(self.read(directory, manifest))
        options = {**manifest["options"], "output": manifest.get("output", "logits")}
        forward = self.attach(model, options, device="cpu", threads=torch.get_num_threads())
        return of_torch(model, lambda: forward(inputs))

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        config = _config(directory)
        if _method(config):
            return _as_stored(directory, config)
        model = self.read(directory, manifest)
        stored = [one for file in sorted(directory.glob("*.safetensors")) for one in stored_bytes(file)]
        return inventory_of(model, module_types(model), stored)


def _config(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / CONFIG).read_text(encoding="utf-8")))


def _method(config: Mapping[str, Any]) -> str | None:
    """How a folder's weights are quantized, in the configuration's own word."""
    found = config.get("quantization_config")
    return None if found is None else str(found.get("quant_method", "quantized"))


@contextlib.contextmanager
def _told_by(who: str) -> Iterator[None]:
    """What a library raises is its own reason for not running a layout here: Unsupported, in one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise _unsupported(who, error) from None


def _unsupported(who: str, error: Exception) -> Unsupported:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return Unsupported(f"{who} does not run it here: {said}")


def _telling(model: nn.Module, who: str) -> None:
    """Some libraries look at a layout only when they compute with it. In a class of its own: a copy of the model tells
    of itself."""
    cls: Any = type(model)

    @functools.wraps(cls.forward)
    def told(self: Any, *args: Any, **more: Any) -> Any:
        try:
            return cls.forward(self, *args, **more)
        except (MemoryError, OSError, LookupError, Uncounted):  # of the machine, of the inputs, of who counts
            raise
        except Exception as error:
            if "allocate" in str(error):  # how torch says that the memory is full
                raise
            raise _unsupported(who, error) from None

    model.__class__ = type(cls.__name__, (cls,), {"forward": told, "__module__": cls.__module__})


def _as_stored(directory: Path, config: Mapping[str, Any]) -> Inventory:
    """Of weights that a library packed in a way of its own: as many as the model has without, in types and bytes as the
    files have them. How many are zero only that library knows."""
    plain = skeleton({key: value for key, value in config.items() if key != "quantization_config"}, device="meta")
    weights = [(name, values.numel()) for name, values in plain.named_parameters()]
    dtypes: Counter[str] = Counter()
    sizes = []
    for path in sorted(directory.glob("*.safetensors")):
        sizes += stored_bytes(path)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (a safetensors file is no dictionary)
                part = file.get_slice(name)
                dtypes[part.get_dtype().lower()] += math.prod(part.get_shape())
    return Inventory(sum(count for _, count in weights), None, dict(dtypes), {}, by_layer(sizes, weights))


def _uncached(model: nn.Module) -> nn.Module:
    """For passes over whole texts, which fill no cache."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    return model
