"""From a torch module to a graph with the model's named inputs and one output, `logits`.

The axes that `ModelSpec.inputs` names stay free in the exported graph, so that one file serves every
batch size and length.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec
from compressors.runtimes.layers import WRAPPER

_DECOMPOSED = (("native_layer_norm", "layer_norm"), ("convolution", "conv2d"))
"""What OpenVINO makes of a program's nodes before it converts them -> their name in the program."""


_EAGER = ("t5",)
"""Architectures of which torch.onnx cannot take apart the fused attention ("Cannot view a tensor with shape …")."""


class _Output(nn.Module):
    """Named inputs in, the scored tensor out: what exporters can trace."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.model = model
        self.names, self.output = names, output
        # A decoder behind an encoder makes a cache for one pass, which OpenVINO cannot convert.
        self.more = {"use_cache": False} if getattr(getattr(model, "config", None), "is_encoder_decoder", False) else {}

    def forward(self, *values: Tensor) -> Tensor:
        found: Tensor = getattr(self.model(**dict(zip(self.names, values, strict=True)), **self.more), self.output)
        return found


def example_inputs(
    spec: ModelSpec, *, batch: int = 2, sequence: int = 16, decoder_sequence: int = 8
) -> dict[str, Tensor]:
    """Inputs of the right dtype and shape, every named axis given a size: token ids within the
    vocabulary, masks of ones, images of noise."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"batch": batch, "sequence": sequence, "decoder_sequence": decoder_sequence}
    inputs: dict[str, Tensor] = {}
    for name, wanted in spec.inputs.items():
        shape = [sizes[a] if isinstance(a, str) else a for a in wanted.axes]
        if wanted.dtype == "float32":
            inputs[name] = torch.randn(shape, generator=generator)
        elif name == "token_type_ids":
            inputs[name] = torch.zeros(shape, dtype=torch.int64)
        elif name.endswith("mask"):
            inputs[name] = torch.ones(shape, dtype=torch.int64)
        else:
            inputs[name] = torch.randint(0, int(spec.config["vocab_size"]), shape, generator=generator)
    return inputs


def exported_program(model: nn.Module, spec: ModelSpec) -> torch.export.ExportedProgram:
    """The graph of `model` by torch.export, with the spec's named axes dynamic."""
    longest = int(spec.config.get("max_position_embeddings", 2**15))
    dims = {
        "batch": torch.export.Dim("batch", min=1, max=2**15),
        "sequence": torch.export.Dim("sequence", min=2, max=longest),
        "decoder_sequence": torch.export.Dim("decoder_sequence", min=1, max=longest),  # a text begins with one token
    }
    shapes = tuple({i: dims[a] for i, a in enumerate(s.axes) if isinstance(a, str)} for s in spec.inputs.values())
    wrapped = _Output(model, tuple(spec.inputs), spec.output).eval()
    with quiet():
        return torch.export.export(wrapped, tuple(example_inputs(spec).values()), dynamic_shapes=(shapes,))


@contextlib.contextmanager
def _attention(model: Any, implementation: str | None) -> Iterator[None]:
    """Within it a transformers model computes attention in another way; as it is where None."""
    before = model.config._attn_implementation if implementation else None
    if implementation:
        model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if implementation:
            model.set_attn_implementation(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own internals; none of it is for our user. Errors still raise."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def to_onnx(model: nn.Module, spec: ModelSpec) -> Any:
    """An ONNX ModelProto in fp32, its inputs named as in the spec and its output `logits`."""
    with _attention(model, "eager" if spec.architecture in _EAGER else None):
        program = exported_program(model, spec)
    with quiet():
        exported = torch.onnx.export(
            program, dynamo=True, input_names=list(spec.inputs), output_names=["logits"], verbose=False
        )
    assert exported is not None
    return exported.model_proto


def to_openvino(model: nn.Module, spec: ModelSpec) -> Any:
    """An openvino.Model in fp32, its inputs named as in the spec. That of a causal language model keeps a key-value
    cache (see `compressors.runtimes.cached_graph`) where its architecture can be exported with one."""
    from compressors.runtimes import cached_graph

    if not cached_graph.is_causal(model, spec):
        return named(exported_program(model, spec), spec.inputs)
    try:
        return cached_graph.exported(model, spec)
    except Exception as error:  # exporters raise what they like; without a cache the graph is still of use
        found = named(exported_program(model, spec), spec.inputs)
        cached_graph.without_cache(found, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
        return found


def named(program: torch.export.ExportedProgram, inputs: Iterable[str]) -> Any:
    """The program as an openvino.Model: its inputs called `inputs`, its first output `logits`, and its operators after
    the modules that they compute for."""
    import openvino

    paths = _paths(program)
    with quiet():
        converted = openvino.convert_model(program)
    for operator in converted.get_ops():
        # OpenVINO names an operator after the node of the program, which tells a reader of the graph little.
        name = operator.get_friendly_name()
        node = name.partition("/")[0]
        for made, written in _DECOMPOSED:
            node = written + node.removeprefix(made) if node.startswith(made) else node
        if path := paths.get(node):
            operator.set_friendly_name(f"{path}/{name}")
    for port, name in zip(converted.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    converted.outputs[0].get_tensor().set_names({"logits"})
    converted.validate_nodes_and_infer_types()
    return converted


def _paths(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Node of the program -> path of the module that it computes for, beginning with `WRAPPER`."""
    found = {}
    for node in program.graph.nodes:
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        if stack and stack[-1].startswith(WRAPPER):
            found[node.name] = stack[-1]
    return found
