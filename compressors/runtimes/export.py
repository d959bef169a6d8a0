"""From a torch module to a graph with the model's named inputs and one output, `logits`."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import nn

from compressors.interface import ModelSpec, Unsupported
from compressors.runtimes import cached_graph
from compressors.runtimes.openvino_names import named
from compressors.runtimes.program import attention_as, exported_program, exporter, quiet

ONNX = {"onnxruntime": "onnxruntime", "onnx": "onnx", "onnxscript": "onnxscript"}  # with onnx_ir
"""What `to_onnx` and running its graph take: import name -> what to install."""


def to_onnx(model: nn.Module, spec: ModelSpec) -> Any:
    """An ONNX ModelProto in fp32, its inputs named as in the spec and its output `logits`."""
    # torch.onnx cannot take some fused attentions apart (T5's, BEiT's, Swin's: "Cannot view a tensor with shape …").
    for implementation in (None, "eager"):
        with attention_as(model, implementation):
            program = exported_program(model, spec)
        try:
            with exporter("torch.onnx cannot convert", model, spec), quiet():
                exported = torch.onnx.export(
                    program, dynamo=True, input_names=list(spec.inputs), output_names=["logits"], verbose=False
                )
        except Unsupported as error:
            reason = error
            if not hasattr(model, "set_attn_implementation"):
                break
            continue
        assert exported is not None
        return _shared_once(exported.model_proto, model)
    raise reason


def _shared_once(exported: Any, model: nn.Module) -> Any:
    """The graph with weights once that layers of the module share: torch.onnx writes a copy for each, transposed where
    it is multiplied. Weights that are equal by chance, such as zeros, stay several: they are several of the model's."""
    import onnx_ir

    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    shared = [weight for weight in model.parameters() if uses[id(weight)] > 1]
    if not shared:
        return exported
    laid = [weight.detach().float().numpy() for weight in shared]
    known = {_content(values) for weight in laid for values in (weight, weight.T)}
    graph = onnx_ir.from_proto(exported)
    first: dict[Any, Any] = {}
    for value in list(graph.graph.initializers.values()):
        key = _content(value.const_value.numpy())
        if key in known and first.setdefault(key, value) is not value:
            value.replace_all_uses_with(first[key])
            del graph.graph.initializers[value.name]
    return onnx_ir.to_proto(graph)


def _content(values: np.ndarray) -> tuple[tuple[int, ...], str, str]:
    return values.shape, str(values.dtype), hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def to_openvino(model: nn.Module, spec: ModelSpec) -> Any:
    """An openvino.Model in fp32, its inputs named as in the spec. That of a causal language model keeps a key-value
    cache (see `compressors.runtimes.cached_graph`) where its architecture can be exported with one."""

    def plain() -> Any:
        program = exported_program(model, spec)
        with exporter("OpenVINO cannot convert", model, spec):
            return named(program, spec.inputs)

    if not cached_graph.is_causal(model, spec):
        return plain()
    try:
        return cached_graph.exported(model, spec)
    except Exception as error:  # exporters raise what they like; without a cache the graph is still of use
        found = plain()
        cached_graph.without_cache(found, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
        return found
