"""What the parts of an exported graph are called: its inputs and output as the suite asks for them, its operators after
the modules that they compute for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from compressors.runtimes.layers import WRAPPER
from compressors.runtimes.program import quiet

_DECOMPOSED = (("native_layer_norm", "layer_norm"), ("convolution", "conv2d"))
"""What OpenVINO makes of a program's nodes before it converts them -> their name in the program."""


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
