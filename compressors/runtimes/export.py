"""From a torch module to a graph with the model's named inputs and one output, `logits`."""

from __future__ import annotations

from typing import Any

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
    import onnx_ir
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

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
        # It writes a weight once for each layer that shares it. As a message: what is transposed is laid out by then.
        graph = onnx_ir.from_proto(exported.model_proto)
        DeduplicateHashedInitializersPass()(graph)
        return onnx_ir.to_proto(graph)
    raise reason


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
