"""A program of torch.export, executed by torch as it was traced. The artifact is `model.pt2`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from compressors.interface import PressbenchError
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.executed import Executed, of_torch
from compressors.runtimes.files import copy_files
from compressors.runtimes.ports import Ports
from compressors.runtimes.torch import inventory_of

PROGRAM = "model.pt2"


class TorchExport(Runtime):
    """For programs that were not exported here. Options `order` and `outputs` are the names of the program's inputs and
    outputs in their order, beside the ports."""

    name: ClassVar[str] = "torch-export"
    emulates: ClassVar[bool] = True

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        copy_files(model, directory, self.name)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        return torch.export.load(str(directory / PROGRAM))

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return self.attach(self.read(directory, manifest), manifest["options"], device=device, threads=threads)

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return _forward(model, model.module(), options, device, threads)

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        program = self.read(directory, manifest)
        module = program.module()
        forward = _forward(program, module, manifest["options"], "cpu", torch.get_num_threads())
        return of_torch(module, lambda: forward(inputs))

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        module = self.read(directory, manifest).module()
        operators = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        stored = [(name, value.numel() * value.element_size()) for name, value in module.state_dict().items()]
        return inventory_of(module, operators, stored)


def _forward(program: Any, module: nn.Module, options: Mapping[str, Any], device: str, threads: int) -> Forward:
    from torch.utils import _pytree as pytree

    if device != "cpu":
        raise PressbenchError(f"an archive of torch.export runs on the CPU here, not on {device}")
    torch.set_num_threads(threads)
    ports = Ports.of(options)
    assert ports is not None
    order, place = options["order"], list(options["outputs"]).index(ports.output)
    made = {str(node.name): node.meta.get("val") for node in program.graph.nodes}
    nodes = map(str, program.graph_signature.user_inputs)
    types = {name: _numpy(made[node].dtype) for name, node in zip(order, nodes, strict=True)}

    def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        fed = ports.fed(inputs, types)
        with torch.inference_mode():
            flat = [torch.from_numpy(fed[name]) for name in order]
            args, kwargs = pytree.tree_unflatten(flat, program.call_spec.in_spec)
            answer = pytree.tree_leaves(module(*args, **kwargs))[place]
            return answer.float().numpy()

    return forward


def _numpy(dtype: torch.dtype) -> np.dtype[Any]:
    return np.dtype(torch.empty(0, dtype=dtype).numpy().dtype)
