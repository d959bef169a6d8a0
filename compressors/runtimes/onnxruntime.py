"""ONNX Runtime on the CPU. The artifact is one self-contained `model.onnx`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors.interface import PressbenchError
from compressors.runtimes.base import Forward, Inventory, Runtime

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
        for tensor in graph.initializer:
            # Scalars, shapes and zero points are the graph's own constants, not weights.
            if np.prod(tensor.dims) < 2 or tensor.name.endswith(("_scale", "_zero_point")):
                continue
            values = numpy_helper.to_array(tensor)
            if values.dtype in (np.int64, np.int32, np.bool_):  # positions and masks
                continue
            parameters += values.size
            nonzero += int(np.count_nonzero(values))
            dtypes[str(values.dtype)] += values.size
        return Inventory(parameters, nonzero, dict(dtypes), dict(Counter(n.op_type for n in graph.node)))
