"""Whatever a function of one's own returns.

The artifact is `program.py` and the files that it names. The function that the option `function` names is called with
the folder that they lie in and a number of threads, by position:

    def load(directory: Path, threads: int): ...

It returns what is called with the inputs, name -> array, and answers with the scored output of each, first axis the
example; or a torch module, called with tensors by keyword, whose answer is that tensor, or holds it under its name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from compressors.interface import PressbenchError
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.executed import Executed, of_torch
from compressors.runtimes.files import copy_files
from compressors.runtimes.torch import inventory_of, module_types, stored_bytes

PROGRAM = "program.py"


class Called(Runtime):
    """On the CPU. What a file's own code does with threads and memory is its own affair, and is measured."""

    name: ClassVar[str] = "called"

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        copy_files(model, directory, self.name)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        """What the function returns."""
        threads = torch.get_num_threads()
        with _importable(directory):
            spec = importlib.util.spec_from_file_location("called_program", directory / PROGRAM)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # where pickles and dataclasses look
            spec.loader.exec_module(module)
            name = manifest["options"]["function"]
            found = getattr(module, name)(directory, threads)
        if not callable(found):
            raise PressbenchError(f"{name} returned {type(found).__name__}: it must return what is called with inputs")
        return found

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return _forward(model, str(options.get("output", "logits")))

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        if device != "cpu":
            raise PressbenchError(f"a function of one's own runs on the CPU here, not on {device}")
        torch.set_num_threads(threads)
        return _forward(self.read(directory, manifest), str(manifest.get("output", "logits")))

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        found = self.read(directory, manifest)
        if not isinstance(found, nn.Module):
            return None
        forward = _forward(found, str(manifest.get("output", "logits")))
        return of_torch(found, lambda: forward(inputs))

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        found = self.read(directory, manifest)
        if not isinstance(found, nn.Module):
            return Inventory(0, None)
        files = sorted(directory.rglob("*.safetensors"))
        return inventory_of(found, module_types(found), [pair for file in files for pair in stored_bytes(file)])


def _forward(found: Any, output: str) -> Forward:
    if not isinstance(found, nn.Module):
        return lambda inputs: np.asarray(found(dict(inputs)), dtype=np.float32)
    module = found.eval()

    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            answer = module(**{name: torch.from_numpy(values) for name, values in inputs.items()})
            named = answer[output] if isinstance(answer, Mapping) else getattr(answer, output, answer)
            if not isinstance(named, torch.Tensor):
                raise PressbenchError(
                    f"the module answered {type(named).__name__}: no tensor, and none called {output}"
                )
            return named.float().numpy()

    return forward


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Within it the file finds modules beside it, and no compiled copy is written into the artifact."""
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        sys.path.remove(str(directory))
