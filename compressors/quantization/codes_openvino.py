"""The codes of packed layers in an OpenVINO graph, as its CPU kernels read them.

The graph is exported with decoded weights, so that its constants are plain matrices. Each that equals a decoded weight
then gives way to what OpenVINO knows as a compressed one, and fuses into the matrix product or the look-up:

    codes (u4 or u8) -> Convert -> Subtract (zero point) -> Multiply (scale) -> Reshape to (rows, columns)

It is the pattern that NNCF writes, but in fp32, so that a reader who takes it literally gets the very numbers of the
packed layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec
from compressors.quantization.decoded import Key, decoded, key, misfit
from compressors.quantization.packed import PackedWeight
from compressors.runtimes.export import to_openvino


def with_codes(model: nn.Module, spec: ModelSpec) -> tuple[Any, dict[str, str]]:
    """The openvino.Model of a model with packed layers, with their codes in it, and the layers that are decoded to fp32
    in it instead -> why. Changes `model`. Raises Unsupported where no packed linear layer has codes that fit, and
    PressbenchError where one that is computed with is not found in the graph."""
    found = decoded(model, spec, lambda _, layer: misfit(layer.packed))
    graph = to_openvino(model, spec)
    wanted = {**found.tables, **found.products}
    found.require({_lay(node, wanted) for node in graph.get_ops() if node.get_type_name() == "Constant"})
    graph.validate_nodes_and_infer_types()
    return graph, dict(found.left)


def _lay(constant: Any, wanted: Mapping[Key, PackedWeight]) -> Key | None:
    """Put codes in the place of a constant that is one of the `wanted` matrices; its key there, or None."""
    if constant.get_element_type().get_type_name() != "f32" or len(constant.get_output_shape(0)) != 2:
        return None
    found = key(constant.get_data())
    if found not in wanted:
        return None
    name, readers = constant.get_friendly_name(), constant.output(0).get_target_inputs()
    constant.set_friendly_name(f"{name}/decoded")
    source = decoding(wanted[found], name)
    for reader in readers:
        reader.replace_source_output(source.output(0))
    return found


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
