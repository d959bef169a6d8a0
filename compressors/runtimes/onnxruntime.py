"""ONNX Runtime on the CPU. The artifact is one self-contained `model.onnx`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors.interface import PressbenchError
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.layers import WRAPPER, by_layer, spread

GRAPH = "model.onnx"


class OnnxRuntime(Runtime):
    """ONNX Runtime, CPU execution provider, sequential, spinning stopped after each run so that an idle
    session does not burn the core another worker is being timed on."""

    name: ClassVar[str] = "onnxruntime"
    requires: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime", "onnx": "onnx"}

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        import onnx

        onnx.save(model, str(directory / GRAPH))

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        import onnx

        return onnx.load(str(directory / GRAPH))

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return self.attach(directory / GRAPH, manifest["options"], device=device, threads=threads)

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        import onnxruntime

        if device != "cpu":
            raise PressbenchError(f"the onnxruntime runtime runs on the CPU here, not on {device}")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        session = onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])

        def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            return np.asarray(session.run(["logits"], dict(inputs))[0])

        return forward

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        import onnx
        from onnx import numpy_helper

        graph = onnx.load(str(directory / GRAPH)).graph
        parameters = nonzero = 0
        dtypes: Counter[str] = Counter()
        sizes, weights, paths = [], [], _paths(graph)
        for tensor in graph.initializer:
            sizes.append((paths[tensor.name], len(tensor.raw_data) or numpy_helper.to_array(tensor).nbytes))
            # Scalars, shapes and zero points are the graph's own constants, not weights.
            if np.prod(tensor.dims) < 2 or tensor.name.endswith(("_scale", "_zero_point")):
                continue
            values = numpy_helper.to_array(tensor)
            if values.dtype in (np.int64, np.int32, np.bool_):  # positions and masks
                continue
            parameters += values.size
            nonzero += int(np.count_nonzero(values))
            dtypes[str(values.dtype)] += values.size
            weights.append((paths[tensor.name], values.size))
        operators = dict(Counter(n.op_type for n in graph.node))
        return Inventory(parameters, nonzero, dict(dtypes), operators, by_layer(sizes, weights))


def _paths(graph: Any) -> dict[str, str]:
    """Initialiser -> path of the module that it belongs to, empty where that is not known: by its own name, or by
    the module that the exporter noted for the nodes which it reaches."""
    users: dict[str, list[str]] = {}
    known: dict[str, str] = {}
    for node in graph.node:
        made = list(node.output)
        for name in node.input:
            users.setdefault(name, []).extend(made)
        for note in node.metadata_props:
            if note.key == "pkg.torch.onnx.name_scopes":
                scopes = [path for path in ast.literal_eval(note.value)[:-1] if path.startswith(WRAPPER)]
                known.update(dict.fromkeys(made, scopes[-1].removeprefix(WRAPPER) if scopes else ""))
    for tensor in graph.initializer:
        if tensor.name.startswith(WRAPPER):
            known[tensor.name] = tensor.name.removeprefix(WRAPPER)
    return {tensor.name: spread(users, known, tensor.name) for tensor in graph.initializer}
