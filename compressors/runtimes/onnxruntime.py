"""ONNX Runtime on the CPU. The artifact is one self-contained `model.onnx`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.executed import Executed
from compressors.runtimes.files import Files
from compressors.runtimes.generation import Generator
from compressors.runtimes.layers import WRAPPER, by_layer, spread
from compressors.runtimes.onnx_executed import executed, number
from compressors.runtimes.onnx_generation import OnnxGenerator, weight_bytes
from compressors.runtimes.ports import Ports

GRAPH = "model.onnx"


CODED = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Operators on codes of weights, which say of how many bits -> which of their inputs the codes are."""


class OnnxRuntime(Runtime):
    """ONNX Runtime, CPU execution provider, sequential, spinning stopped after each run so that an idle
    session does not burn the core another worker is being timed on."""

    name: ClassVar[str] = "onnxruntime"
    requires: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime", "onnx": "onnx"}
    generates_given: ClassVar[bool] = True

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        import onnx

        if isinstance(model, Files):
            model.copy(directory)
        else:
            onnx.save(model, str(directory / GRAPH))

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        import onnx

        return onnx.load(str(directory / GRAPH))

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return self.attach(directory / GRAPH, manifest["options"], device=device, threads=threads)

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        session = _session(model, device, threads)
        ports = Ports.of(options)
        types = {} if ports is None else _types(session)

        def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            if ports is None:
                return np.asarray(session.run(["logits"], dict(inputs))[0])
            return np.asarray(session.run([ports.output], ports.fed(inputs, types))[0], dtype=np.float32)

        return forward

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        import onnx

        ports = Ports.of(manifest["options"])
        if ports is None or not ports.past:
            raise Unsupported("the ONNX graph is given no key-value cache: no prefill and no decode")
        weights = weight_bytes(onnx.load(str(directory / GRAPH), load_external_data=False).graph)
        session = _session(directory / GRAPH, device, threads)
        return OnnxGenerator(session, ports, _types(session), weights)

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        """By the shapes that its products have in a run, in which they are outputs of the graph."""
        import onnx
        import onnxruntime

        def shapes_of(model: Any, names: Sequence[str]) -> dict[str, list[int]]:
            given = {value.name for value in (*model.graph.output, *model.graph.input)}
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
            settings = onnxruntime.SessionOptions()
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # names stay
            settings.log_severity_level = 3
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
            )
            ports = Ports.of(manifest["options"])
            fed = ports.fed(inputs, _types(session)) if ports else dict(inputs)
            outputs = [value.name for value in session.get_outputs()]
            found = {name: list(value.shape) for name, value in zip(outputs, session.run(outputs, fed), strict=True)}
            return found | {name: list(values.shape) for name, values in fed.items()}

        return executed(onnx.load(str(directory / GRAPH)), shapes_of)

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        import onnx
        from onnx import numpy_helper

        graph = onnx.load(str(directory / GRAPH)).graph
        parameters = nonzero = 0
        dtypes: Counter[str] = Counter()
        sizes, weights, paths = [], [], _paths(graph)
        coded = _coded(graph)
        for tensor in graph.initializer:
            sizes.append((paths[tensor.name], len(tensor.raw_data) or numpy_helper.to_array(tensor).nbytes))
            # Scalars, shapes and zero points are the graph's own constants, not weights.
            if np.prod(tensor.dims) < 2 or tensor.name.endswith(("_scale", "_zero_point")):
                continue
            values = numpy_helper.to_array(tensor)
            if values.dtype in (np.int64, np.int32, np.bool_):  # positions and masks
                continue
            dtype = str(values.dtype)
            if tensor.name in coded:
                values, dtype = coded[tensor.name]
            parameters += values.size
            nonzero += int(np.count_nonzero(values))
            dtypes[dtype] += values.size
            weights.append((paths[tensor.name], values.size))
        operators = dict(Counter(n.op_type for n in graph.node))
        return Inventory(parameters, nonzero, dict(dtypes), operators, by_layer(sizes, weights))


def _session(model: Any, device: str, threads: int) -> Any:
    """model: an onnx.ModelProto, or the path of one."""
    import onnxruntime

    if device != "cpu":
        raise PressbenchError(f"the onnxruntime runtime runs on the CPU here, not on {device}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])


def _types(session: Any) -> dict[str, Any]:
    """Input of the graph -> numpy's type of it."""
    named = {"float": "float32", "double": "float64"}
    kinds = {one.name: one.type.removeprefix("tensor(").removesuffix(")") for one in session.get_inputs()}
    return {name: np.dtype(named.get(kind, kind)) for name, kind in kinds.items()}


def _coded(graph: Any) -> dict[str, tuple[np.ndarray, str]]:
    """Initialiser of codes -> how many steps each weight is from zero, (rows, columns), and the type of a code."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    found: dict[str, tuple[np.ndarray, str]] = {}
    for node in graph.node:
        if node.op_type not in CODED:
            continue
        name = node.input[CODED[node.op_type]]
        name = made[name].input[0] if name in made else name  # a table is a view of them
        bits, zero = number(node, "bits"), (*node.input[3:4], "")[0]
        if name in found or bits not in (4, 8):
            continue
        rows, blocks, _ = stored[name].dims
        codes = _unpacked(numpy_helper.to_array(stored[name]), bits)
        middle = np.full((rows, blocks), 2 ** (bits - 1), np.int16)
        if zero:
            middle = _unpacked(numpy_helper.to_array(stored[zero]), bits)[:, :blocks]
        steps = (codes - middle[..., None]).reshape(rows, -1)
        columns = number(node, "K") if node.op_type == "MatMulNBits" else steps.shape[1]
        found[name] = steps[:, :columns], f"uint{bits}"
    return found


def _unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    """Codes of 4 bits, two a byte, the first in the lower half, or of 8: (…, bytes) -> (…, codes) int16."""
    halves = np.stack([values & 15, values >> 4], -1).reshape(*values.shape[:-1], -1) if bits == 4 else values
    return halves.astype(np.int16)


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
