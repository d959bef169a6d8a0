"""The codes of packed layers in an OpenVINO graph, as its CPU kernels read them.

The graph is exported with decoded weights, so that its constants are plain matrices. Each that equals a decoded weight
then gives way to what OpenVINO knows as a compressed one, and fuses into the matrix product or the look-up:

    codes (u4 or u8) -> Convert -> Subtract (zero point) -> Multiply (scale) -> Reshape to (rows, columns)

It is the pattern that NNCF writes, but in fp32, so that a reader who takes it literally gets the very numbers of the
packed layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import ModelSpec, PressbenchError, Unsupported
from compressors.quantization.packed import PackedEmbedding, PackedLinear, PackedWeight
from compressors.runtimes.export import to_openvino
from compressors.runtimes.program import example_inputs


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


def with_codes(model: nn.Module, spec: ModelSpec) -> tuple[Any, dict[str, str]]:
    """The openvino.Model of a model with packed layers, with their codes in it, and the layers that are decoded to fp32
    in it instead -> why. Changes `model`. Raises Unsupported where no packed linear layer has codes that fit, and
    PressbenchError where one that is computed with is not found in the graph."""
    packed = {n: m.packed for n, m in model.named_modules() if isinstance(m, PackedLinear | PackedEmbedding)}
    linear = [name for name in packed if isinstance(surgery.get(model, name), PackedLinear)]
    if not linear:
        raise Unsupported("no linear layer is packed: a method that rounds must be before it, such as quantize-gptq")
    left = {name: why for name, weight in packed.items() if (why := misfit(weight))}
    if set(linear) <= set(left):
        raise Unsupported(
            f"no kernel takes these codes ({'; '.join(sorted({left[name] for name in linear}))}): 4 or 8 bits with "
            "evenly spaced values fit"
        )
    keys = {name: _key(values) for name, values in decode(model, left).items() if name not in left}
    used = _used(model, list(packed), spec)
    graph = to_openvino(model, spec)
    wanted = {key: packed[name] for name, key in keys.items()}
    laid = {_lay(node, wanted) for node in graph.get_ops() if node.get_type_name() == "Constant"}
    for name, key in keys.items():
        if name in used and key not in laid:
            raise PressbenchError(
                f"{name}: the exported graph does not hold its decoded weight: its codes have no place"
            )
    graph.validate_nodes_and_infer_types()
    return graph, left


def misfit(weight: PackedWeight) -> str | None:
    """Why OpenVINO's kernels do not take these codes, in a few words; None if they do."""
    if weight.layout.levels:
        return "codes of a table of values"
    return None if weight.layout.bits in (4, 8) else f"{weight.layout.bits} bits"


def decode(model: nn.Module, left: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Put layers with decoded weights in the place of packed ones; those that share a weight go on sharing it. All but
    those in `left` divide by a `column_scale` as they run. Returns the weights by layer, (rows, columns) float32."""
    parameters: dict[int, nn.Parameter] = {}
    found = {}
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, PackedLinear | PackedEmbedding):
            continue
        weight = layer.packed
        divided = weight.layout.column_scale and name not in left
        if id(weight) not in parameters:
            parameters[id(weight)] = nn.Parameter(weight.dequantize(on_grid=divided), requires_grad=False)
        kind: Any = nn.Linear if isinstance(layer, PackedLinear) else nn.Embedding
        if divided:
            kind = _Linear if isinstance(layer, PackedLinear) else _Embedding
        size = (weight.columns, weight.rows) if isinstance(layer, PackedLinear) else (weight.rows, weight.columns)
        plain = kind(*size, device="meta")
        plain.weight = parameters[id(weight)]
        if isinstance(layer, PackedLinear):
            plain.bias = layer.bias
        if divided:
            plain.register_buffer("column_scale", weight.column_scale)
        surgery.replace(model, name, plain.train(layer.training))
        found[name] = plain.weight.detach().numpy()
    return found


def _used(model: nn.Module, names: list[str], spec: ModelSpec) -> set[str]:
    """Those of the layers that a pass calls: a pooler that nobody asks is in no graph."""
    called: set[str] = set()
    hooks = [surgery.get(model, n).register_forward_hook(lambda *_, n=n: called.add(n)) for n in names]
    with torch.inference_mode():
        model(**example_inputs(spec))
    for hook in hooks:
        hook.remove()
    return called


def _key(values: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return values.shape, hashlib.sha256(np.ascontiguousarray(values).data).digest()


def _lay(constant: Any, wanted: Mapping[Any, PackedWeight]) -> Any:
    """Put codes in the place of a constant that is one of the `wanted` matrices; its key there, or None."""
    if constant.get_element_type().get_type_name() != "f32" or len(constant.get_output_shape(0)) != 2:
        return None
    key = _key(constant.get_data())
    if key not in wanted:
        return None
    name, readers = constant.get_friendly_name(), constant.output(0).get_target_inputs()
    constant.set_friendly_name(f"{name}/decoded")
    source = decoding(wanted[key], name)
    for reader in readers:
        reader.replace_source_output(source.output(0))
    return key


def decoding(weight: PackedWeight, name: str) -> Any:
    """The operators that make (rows, columns) fp32 of the codes of `weight`, which are called `name`."""
    import openvino
    from openvino import opset13 as opset

    layout, span = weight.layout, weight.even_group
    codes, (scale, zero) = weight.unpacked(), weight.scales_and_zeros(span)
    if span < weight.columns:  # else groups are rows, and the matrix needs no third axis
        codes, scale, zero = codes.unflatten(1, (-1, span)), scale[..., None], zero[..., None]
    integer = openvino.Type.u4 if layout.bits == 4 else openvino.Type.u8

    def stored(values: Tensor, kind: Any) -> Any:
        return opset.convert(opset.constant(values.contiguous().numpy(), dtype=kind), "f32")

    found = stored(codes, integer)
    found.input_value(0).get_node().set_friendly_name(name)
    if not layout.zero_points:
        zero = zero.flatten()[:1]
    found = opset.subtract(found, stored(zero.to(torch.uint8), integer))
    kind = openvino.Type.f16 if layout.scale_dtype == "float16" else openvino.Type.f32
    found = opset.multiply(found, stored(scale.to(getattr(torch, layout.scale_dtype)), kind))
    if span < weight.columns:
        found = opset.reshape(found, np.array([weight.rows, weight.columns]), special_zero=False)
    return found
