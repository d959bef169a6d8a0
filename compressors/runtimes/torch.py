"""torch in eager mode. Weights are kept as safetensors; a tensor with many zeros is stored sparse.

Sparse storage is where the values are and the values, see `compressors.runtimes.sparse`: at most (1 + b·density) bits a
weight for b-bit values. It saves disk, not memory or time: the tensor is dense again once loaded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes import sparse
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.executed import Executed, of_torch
from compressors.runtimes.generation import Generator, TorchGenerator, read
from compressors.runtimes.layers import by_layer
from compressors.runtimes.writing import TorchWriter, Writer
from compressors.skeleton import skeleton

WEIGHTS = "model.safetensors"
SPARSE_BELOW = 0.9
"""Density under which a floating-point tensor is stored as mask and values."""


def write_state(state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Write a state dictionary; return what `read_state` needs beside the file.

    A tensor that occurs under several names is written once."""
    payload: dict[str, Any] = {"sparse": {}, "shared": {}}
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    first: dict[tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype], str] = {}
    for name, tensor in state.items():
        identity = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and first.setdefault(identity, name) != name:
            payload["shared"][name] = first[identity]
            continue
        tensor = tensor.detach().cpu().contiguous()  # a view of another file is written as it is
        if tensor.is_floating_point() and tensor.numel() > 1024:
            density = float((tensor != 0).sum()) / tensor.numel()  # count_nonzero knows no float8
            if density < SPARSE_BELOW:
                layout, tensors[f"{name}::mask"], tensors[f"{name}::values"] = sparse.encode(tensor)
                payload["sparse"][name] = layout.as_json()
                continue
        own = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if own in storages else tensor  # two parts of one are refused
        storages.add(own)
    save_file(tensors, path)
    return payload


def stored_bytes(path: Path) -> list[tuple[str, int]]:
    """(name in the state dictionary, bytes) of every stored tensor, mask and values each by themselves."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [
        (name.partition("::")[0], about["data_offsets"][1] - about["data_offsets"][0])
        for name, about in header.items()
        if name != "__metadata__"
    ]


def read_state(path: Path, payload: Mapping[str, Any], apart: bool = False) -> dict[str, Tensor]:
    """The state dictionary that `write_state` wrote.

    Tensors are views of the file, which take memory once they are looked at. apart: each by a mapping of its own, that
    gives it back when it is let go, so that a model which is changed layer by layer never lies in memory as a whole. Of
    what is run a page that two of them touch would count for both."""
    with safe_open(path, framework="pt") as file:
        plain = [name for name in file.keys() if "::" not in name]  # noqa: SIM118  (a safetensors file is no dictionary)
        state = {name: _mapped(path, name) if apart else file.get_tensor(name) for name in plain}
        for name, stored in payload["sparse"].items():
            mask, values = file.get_tensor(f"{name}::mask"), file.get_tensor(f"{name}::values")
            state[name] = sparse.decode(sparse.Layout.from_json(stored), mask, values)
    for alias, name in payload["shared"].items():
        state[alias] = state[name]
    return state


def _mapped(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def rebuild(directory: Path, manifest: Mapping[str, Any], apart: bool = False) -> nn.Module:
    """The module in `directory`: a fresh skeleton, the recipe's structural changes, then the weights. apart: see
    `read_state`, for what is to be changed."""
    from compressors import registry

    model = skeleton(manifest["config"], empty=True)
    for step in manifest["recipe"]:
        compressor = registry.build(step["compressor"], step["parameters"])
        model = compressor.restructure(model, step["structure"])
    try:
        state = read_state(directory / WEIGHTS, manifest["payload"], apart)
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise PressbenchError(
            f"{directory}: the weights do not fit the recipe: {str(error).splitlines()[-1].strip()}"
        ) from None
    # Assigning gave a weight that has two names two Parameters, which training would take apart.
    for alias, name in manifest["payload"]["shared"].items():
        if isinstance(surgery.get(model, name), nn.Parameter):
            surgery.replace(model, alias, surgery.get(model, name))
    return model.eval()


class TorchRuntime(Runtime):
    """torch, eager. On CUDA the model and the inputs are moved to the device and the call waits for it."""

    name: ClassVar[str] = "torch"
    emulates: ClassVar[bool] = True
    generates: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def save(self, model: nn.Module, directory: Path, manifest: dict[str, Any]) -> None:
        manifest["payload"] = write_state(model.state_dict(), directory / WEIGHTS)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> nn.Module:
        return rebuild(directory, manifest, apart=True)

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        options = {**manifest["options"], "output": manifest.get("output", "logits")}
        return self.attach(_released(rebuild(directory, manifest)), options, device=device, threads=threads)

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        if manifest["options"].get("compile"):
            raise Unsupported("it would be compiled anew as its key-value cache grows: no prefill and no decode")
        return TorchGenerator(_placed(_released(rebuild(directory, manifest)), device, threads), device)

    def writer(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Writer:
        if manifest["options"].get("compile"):
            raise Unsupported("it would be compiled anew as its key-value cache grows: nothing is generated")
        return TorchWriter(_placed(_released(rebuild(directory, manifest)), device, threads), device)

    def attach(self, model: nn.Module, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        model, output = _placed(model, device, threads), options.get("output", "logits")
        floats = {p.dtype for p in model.parameters() if p.is_floating_point()}
        dtype = floats.pop() if len(floats) == 1 else torch.float32
        own: Any = getattr(model, "own_cache", None)
        if options.get("compile"):
            model = _compiled(model)

        def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
                cast = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
                if own is None:
                    return getattr(model(**cast), output).float().cpu().numpy()
                # What a text costs that is read through its cache must show where texts are scored.
                blocks = [getattr(answer, output) for answer in read(model, cast, own())]
                return torch.cat(blocks, 1).float().cpu().numpy()

        return forward

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        model = _released(rebuild(directory, manifest))
        # As it was before it was compiled: what is counted is operators of torch.
        options = {**manifest["options"], "output": manifest.get("output", "logits"), "compile": False}
        forward = self.attach(model, options, device="cpu", threads=torch.get_num_threads())
        return of_torch(model, lambda: forward(inputs))

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        model = rebuild(directory, manifest)
        return inventory_of(model, module_types(model), stored_bytes(directory / WEIGHTS))


def module_types(model: nn.Module) -> Counter[str]:
    """Types of the modules that hold no others -> how many."""
    return Counter(type(m).__name__ for m in model.modules() if not list(m.children()))


def inventory_of(model: nn.Module, operators: Mapping[str, int], stored: Sequence[tuple[str, int]]) -> Inventory:
    """What a module holds. stored: (name, bytes) of each tensor in its files."""
    parameters = nonzero = 0
    dtypes: Counter[str] = Counter()
    weights = logical_weights(model)
    for _, weight in weights:
        parameters += weight.count
        nonzero += weight.nonzero
        dtypes[weight.dtype] += weight.count
    layers = by_layer(stored, [(name, weight.count) for name, weight in weights])
    return Inventory(parameters, nonzero, dict(dtypes), dict(operators), layers)


def _compiled(model: nn.Module) -> nn.Module:
    """The model with kernels of its own, made at the first call of a shape, in this process and no pool of others,
    whose work would be another's time."""
    import torch._inductor.config as inductor

    inductor.compile_threads = 1
    return torch.compile(model)  # type: ignore[return-value]


def _placed(model: nn.Module, device: str, threads: int) -> nn.Module:
    if device == "cpu":
        torch.set_num_threads(threads)
    model = model.to(device).eval()
    _ask(model, "place")  # of layers that a kernel wants laid out its own way
    return model


def _released(model: nn.Module) -> nn.Module:
    """Loaded to be run and not to be saved: what is laid out for a kernel need not be held twice."""
    _ask(model, "place")
    _ask(model, "release")
    return model


def _ask(model: nn.Module, wish: str) -> None:
    for module in model.modules():
        if callable(own := getattr(module, wish, None)):
            own()


class LogicalWeight:
    """One weight tensor as the method sees it: `count` values stored as `dtype`."""

    def __init__(self, count: int, nonzero: int, dtype: str) -> None:
        self.count, self.nonzero, self.dtype = count, nonzero, dtype


def logical_weights(model: nn.Module) -> list[tuple[str, LogicalWeight]]:
    """(path, weight) of the weights of a module, shared ones once. A module that stores weights in another form (packed
    bits, a codebook) says what they stand for with a method `logical_weights()`."""
    found: list[tuple[str, LogicalWeight]] = []
    seen: set[int] = set()
    covered: set[int] = set()
    for path, module in model.named_modules():
        if callable(custom := getattr(module, "logical_weights", None)):
            found += [(path, weight) for weight in custom()]
            covered |= {id(p) for p in module.parameters(recurse=False)}
    for path, parameter in model.named_parameters():
        if id(parameter) not in seen | covered:
            seen.add(id(parameter))
            dtype = str(parameter.dtype).removeprefix("torch.")
            found.append((path, LogicalWeight(parameter.numel(), int(parameter.count_nonzero()), dtype)))
    return found
