"""Prefill and decode on ONNX Runtime, with a graph that is given its key-value cache and hands it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compressors.runtimes.generation import greedy
from compressors.runtimes.ports import Ports

_PASSED_ON = ("DequantizeLinear", "Cast", "Transpose", "Reshape", "Identity")
_HALF_A_BYTE = (21, 22, 23)
"""Types of onnx.TensorProto: uint4, int4, float4e2m1."""


class OnnxGenerator:
    """See `compressors.runtimes.generation.Generator`. The cache never leaves the runtime: what a run hands on is what
    the next is given, as optimum and ONNX Runtime's own examples bind them. The graph is run as it is, also where it
    makes logits of every token of a prompt. session: an onnxruntime.InferenceSession. types: its name of an input ->
    numpy's type. weights: bytes of them that a pass reads."""

    def __init__(self, session: Any, ports: Ports, types: Mapping[str, Any], weights: int) -> None:
        self._session, self._ports, self._types, self._weights = session, ports, types, weights
        self._cached = 0
        self._past: dict[str, Any] = {}
        self._prompts: tuple[int, dict[str, Any]] = (0, {})

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """See Generator."""
        self._cached, self._past = 0, {}
        first = self._next(ids)
        self._prompts = self._cached, self._past
        return first

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """See Generator."""
        self.rewind()
        return greedy(self._next, first, count)

    def rewind(self) -> None:
        """See Generator. Nothing is copied: each run hands on new keys and values, and those of the prompts stay."""
        self._cached, self._past = self._prompts

    def bytes_read(self) -> int:
        """See Generator."""
        return self._weights + self.bytes_cached()

    def bytes_cached(self) -> int:
        """See Generator."""
        past = self._prompts[1].items()
        return sum(int(np.prod(values.shape())) * np.dtype(self._types[name]).itemsize for name, values in past)

    def _next(self, ids: np.ndarray) -> np.ndarray:
        mask = np.ones((len(ids), self._cached + ids.shape[1]), np.int64)
        fed = self._ports.fed({"input_ids": ids, "attention_mask": mask}, self._types, self._cached)
        binding = self._session.io_binding()
        for name, values in fed.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(values))
        for name, kept in self._past.items():
            binding.bind_ortvalue_input(name, kept)
        for name in (self._ports.output, *(kept.output for kept in self._ports.past.values())):
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        logits, *handed = binding.get_outputs()
        self._past = dict(zip(self._ports.past, handed, strict=True))
        self._cached += ids.shape[1]
        found: np.ndarray = logits.numpy()[:, -1].argmax(-1)
        return found


def weight_bytes(graph: Any) -> int:
    """Bytes of the stored tensors of an onnx.GraphProto that each pass reads, as they lie in the file: not the tables
    of which it gathers single rows and does nothing else with."""
    from onnx import helper

    users: dict[str, list[tuple[Any, int]]] = {}
    for node in _nodes(graph):
        for place, name in enumerate(node.input):
            users.setdefault(name, []).append((node, place))

    def looked_up(name: str) -> bool:
        return bool(users.get(name)) and all(
            (node.op_type == "Gather" and place == 0)
            or node.op_type == "GatherBlockQuantized"
            or (node.op_type in _PASSED_ON and all(looked_up(made) for made in node.output))
            for node, place in users[name]
        )

    total = 0
    for name, tensor in _stored(graph):
        if not looked_up(name):
            wide = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            bits = 4 if tensor.data_type in _HALF_A_BYTE else 8 * wide
            total += -(-int(np.prod(tensor.dims)) * bits // 8)
    return total


def _stored(graph: Any) -> Iterator[tuple[str, Any]]:
    """Its tensors by name."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.HasField("t"))


def _nodes(graph: Any) -> Iterator[Any]:
    """Those of a graph and of the graphs in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)
