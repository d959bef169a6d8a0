"""A model with packed layers made one with decoded weights, so that exporters take it, and what their codes were.

An exporter writes plain matrices. Each that equals a decoded weight then gives way to the codes that it was made of, in
the form that a runtime's kernel reads: `codes_openvino`, `codes_onnxruntime`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import ModelSpec, PressbenchError, Unsupported
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear
from compressors.runtimes.program import example_inputs

Key = tuple[tuple[int, ...], bytes]
"""What a matrix is known by: its shape and the hash of its numbers."""


class _Linear(nn.Linear):
    """values: (…, in), divided by `column_scale`, (in,), before the product."""

    column_scale: Tensor

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values / self.column_scale)


class _Embedding(nn.Embedding):
    """ids: (…); what is found is divided by `column_scale`, (width,)."""

    column_scale: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) / self.column_scale


@dataclass(frozen=True)
class Decoded:
    """What stood in a model that is decoded now.

    products, tables: of linear layers and of embeddings whose codes fit, the decoded matrix -> its codes. layers: such
    a layer -> its matrix. called: the layers that a pass calls: a pooler that nobody asks is in no graph. left: the
    layers whose codes do not fit -> why.
    """

    products: Mapping[Key, PackedWeight]
    tables: Mapping[Key, PackedWeight]
    layers: Mapping[str, Key]
    called: Collection[str]
    left: Mapping[str, str]

    def require(self, laid: Collection[Key | None], layers: Collection[str] | None = None) -> None:
        """Raises PressbenchError where a layer that is called, of `layers` or of all, has no matrix among the `laid`
        ones."""
        for name in self.layers if layers is None else layers:
            if name in self.called and self.layers[name] not in laid:
                raise PressbenchError(
                    f"{name}: the exported graph does not hold its decoded weight: its codes have no place"
                )


def decoded(
    model: nn.Module, spec: ModelSpec, misfit: Callable[[str, PackedLinear | PackedEmbedding], str | None]
) -> Decoded:
    """Decode the packed layers of `model`, in place. misfit: (name, packed layer) -> why its codes do not fit, or None.
    Raises Unsupported where no linear layer has codes that do."""
    packed: dict[str, Any] = {n: m for n, m in model.named_modules() if isinstance(m, PackedLinear | PackedEmbedding)}
    linear = [name for name, layer in packed.items() if isinstance(layer, PackedLinear)]
    if not linear:
        raise Unsupported("no linear layer is packed: a method that rounds must be before it, such as quantize-gptq")
    left = {name: why for name, layer in packed.items() if (why := misfit(name, layer))}
    if set(linear) <= set(left):
        raise Unsupported(
            f"no kernel takes these codes ({'; '.join(sorted({left[name] for name in linear}))}): 4 or 8 bits with "
            f"evenly spaced values fit ({linear[0]} is the first of {len(linear)} layers)"
        )
    layers = {name: key(values) for name, values in decode(model, left).items() if name not in left}
    parts: dict[bool, dict[Key, PackedWeight]] = {True: {}, False: {}}
    for name, found in layers.items():
        parts[name in linear][found] = packed[name].packed
    return Decoded(parts[True], parts[False], layers, _called(model, list(packed), spec), left)


def misfit(weight: PackedWeight) -> str | None:
    """Why no kernel of a runtime takes these codes, in a few words; None if they are evenly spaced, of 4 or 8 bits."""
    if weight.layout.levels:
        return "codes of a table of values"
    if weight.layout.zero_points and weight.layout.zero_dtype != "uint8":
        return "zero points between codes"
    return None if weight.layout.bits in (4, 8) else f"{weight.layout.bits} bits"


def decode(model: nn.Module, left: Collection[str]) -> dict[str, np.ndarray]:
    """Put layers with decoded weights in the place of packed ones; those that share a weight go on sharing it. All but
    those in `left` divide by a `column_scale` as they run. Returns the weights by layer, (rows, columns) float32."""
    parameters: dict[tuple[int, bool], nn.Parameter] = {}
    found = {}
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, PackedLinear | PackedEmbedding):
            continue
        weight = layer.packed
        divided = weight.layout.column_scale and name not in left
        if (id(weight), divided) not in parameters:
            values = nn.Parameter(weight.dequantize(on_grid=divided), requires_grad=False)
            parameters[id(weight), divided] = values
        kind: Any = nn.Linear if isinstance(layer, PackedLinear) else nn.Embedding
        if divided:
            kind = _Linear if isinstance(layer, PackedLinear) else _Embedding
        size = (weight.columns, weight.rows) if isinstance(layer, PackedLinear) else (weight.rows, weight.columns)
        plain = kind(*size, device="meta")
        plain.weight = parameters[id(weight), divided]
        if isinstance(layer, PackedLinear):
            plain.bias = layer.bias
        if divided:
            plain.register_buffer("column_scale", weight.column_scale)
        surgery.replace(model, name, plain.train(layer.training))
        found[name] = plain.weight.detach().numpy()
    return found


def _called(model: nn.Module, names: list[str], spec: ModelSpec) -> set[str]:
    called: set[str] = set()
    hooks = [surgery.get(model, n).register_forward_hook(lambda *_, n=n: called.add(n)) for n in names]
    with torch.inference_mode():
        model(**example_inputs(spec))
    for hook in hooks:
        hook.remove()
    return called


def key(values: np.ndarray) -> Key:
    """What a matrix is known by."""
    return values.shape, hashlib.sha256(np.ascontiguousarray(values).data).digest()
