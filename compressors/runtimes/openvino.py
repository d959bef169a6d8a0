"""OpenVINO on the CPU. The artifact is `model.xml` (the graph) and `model.bin` (the weights)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compressors.interface import PressbenchError, Unsupported
from compressors.runtimes.base import Forward, Inventory, Runtime
from compressors.runtimes.cached_graph import has_cache, require_cache, stateless, whole_texts
from compressors.runtimes.executed import Executed
from compressors.runtimes.files import Files
from compressors.runtimes.generation import Generator
from compressors.runtimes.layers import WRAPPER, by_layer, spread
from compressors.runtimes.openvino_generation import OpenvinoGenerator, last_token_only, weight_bytes
from compressors.runtimes.openvino_held import told_where_held
from compressors.runtimes.ports import Ports

GRAPH = "model.xml"
ON_INTEGERS = "MatMulOnIntegers"
"""What an inventory calls a matrix product whose weights are stored as integers, which its kernel decodes."""
PRODUCTS = ("MatMul", "Convolution", "GroupConvolution", "ScaledDotProductAttention")
UNCOUNTED = frozenset({
    "Einsum", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "DeformableConvolution", "BinaryConvolution",
    "LSTMCell", "GRUCell", "RNNCell", "LSTMSequence", "GRUSequence", "RNNSequence", "TensorIterator", "Loop", "If",
    "GroupQueryAttention", "PagedAttentionExtension",
})  # fmt: skip
"""Operators that multiply in ways that are not counted here."""
_DECODING = ("Convert", "Subtract", "Multiply", "Reshape", "FakeQuantize")


class OpenvinoRuntime(Runtime):
    """OpenVINO, CPU plugin. Option `precision` ("fp32" or "bf16") is what the float part of the graph
    is computed in; without it OpenVINO would pick bf16 by itself wherever the CPU has it. With option
    `activation_group_size` what is multiplied with integer weights is rounded to 8 bits in groups of so many."""

    name: ClassVar[str] = "openvino"
    emulates: ClassVar[bool] = True
    generates: ClassVar[bool] = True
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino"}

    def save(self, model: Any, directory: Path, manifest: dict[str, Any]) -> None:
        import openvino

        if isinstance(model, Files):
            model.copy(directory)
            return
        # Rounding the weights to fp16 on the way to disk would be compression nobody asked for.
        openvino.save_model(model, str(directory / GRAPH), compress_to_fp16=False)

    def read(self, directory: Path, manifest: Mapping[str, Any]) -> Any:
        import openvino

        return openvino.Core().read_model(str(directory / GRAPH))

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        return self.attach(self.read(directory, manifest), manifest["options"], device=device, threads=threads)

    def attach(self, model: Any, options: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        cached = has_cache(model)
        compiled = _compiled(stateless(model) if cached else model, options, device, threads)
        request = compiled.create_infer_request()
        names = [port.get_any_name() for port in compiled.inputs]
        ports, types = Ports.of(options), _types(compiled)
        scored = 0 if ports is None else _place(compiled, ports.output)

        def forward(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            if ports is not None:
                inputs = ports.fed(inputs, types)
            if cached:
                inputs = whole_texts(inputs)
            with told_where_held():
                request.infer([inputs[name] for name in names], share_inputs=True)
            return np.array(request.get_output_tensor(scored).data, dtype=np.float32)

        return forward

    def generator(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Generator:
        graph, options = self.read(directory, manifest), manifest["options"]
        if (ports := Ports.of(options)) and ports.past:
            raise Unsupported("the graph is given its cache as inputs: to decode by OpenVINO, export it with state")
        require_cache(graph)
        last_token_only(graph)
        weights = weight_bytes(graph, _precision(options))
        return OpenvinoGenerator(_compiled(graph, options, device, threads), _precision(options), weights)

    def executed(
        self, directory: Path, manifest: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> Executed | None:
        """By the shapes of its products at this size of input."""
        graph, precision = self.read(directory, manifest), _precision(manifest["options"])
        if ports := Ports.of(manifest["options"]):
            inputs = ports.fed(inputs, _types(graph))
        if has_cache(graph):
            graph, inputs = stateless(graph), whole_texts(inputs)
        graph.reshape({port.get_any_name(): list(inputs[port.get_any_name()].shape) for port in graph.inputs})
        float_ = {"f32": "float32", "bf16": "bfloat16"}[precision]
        operations: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        read: dict[str, int] = {}
        for node in graph.get_ops():
            kind = node.get_type_name()
            if kind in UNCOUNTED:
                return None
            if kind not in PRODUCTS:
                continue
            if any(shape.is_dynamic for shape in (node.get_output_partial_shape(0), node.get_input_partial_shape(0))):
                return None  # it depends on the data
            out, first = list(node.get_output_shape(0)), list(node.get_input_shape(0))
            if kind == "ScaledDotProductAttention":
                count = 4 * int(np.prod(first)) * list(node.get_input_shape(1))[-2]
            elif kind == "MatMul":
                inner = first[-2] if node.get_attributes().get("transpose_a") and len(first) > 1 else first[-1]
                count = 2 * int(np.prod(out)) * inner
            else:  # (outputs, inputs, …), or (groups, outputs, inputs, …)
                own = list(node.get_input_shape(1))[2 if kind == "GroupConvolution" else 1 :]
                count = 2 * int(np.prod(out)) * int(np.prod(own))
            name = float_
            if kind != "ScaledDotProductAttention":
                stored = _weight_of(node)
                quantized = [node.input_value(i).get_node().get_type_name() == "FakeQuantize" for i in (0, 1)]
                if stored.is_integral():
                    name = "int4" if stored.bitwidth == 4 else "int8"
                elif all(quantized):
                    name = "int8"
                source = node.input_value(1)
                while source.get_node().get_type_name() in _DECODING:
                    source = source.get_node().input_value(0)
                if source.get_node().get_type_name() == "Constant":
                    read[source.get_node().get_friendly_name()] = source.get_node().get_byte_size()
            operations[name] += count
            kinds[kind] += 1
        return Executed(dict(operations), sum(read.values()), dict(kinds))

    def inventory(self, directory: Path, manifest: Mapping[str, Any]) -> Inventory:
        import openvino

        parameters = nonzero = 0
        dtypes: Counter[str] = Counter()
        operators: Counter[str] = Counter()
        sizes, weights, stored = [], [], set()
        nodes = openvino.Core().read_model(str(directory / GRAPH)).get_ops()
        paths = _paths(nodes)
        for node in nodes:
            kind = node.get_type_name()
            operators[ON_INTEGERS if kind == "MatMul" and _weight_of(node).is_integral() else kind] += 1
            if kind != "Constant":
                continue
            values, name = node.get_data(), node.get_friendly_name()
            place = values.ctypes.data
            if place not in stored:  # equal constants lie in the file once
                stored.add(place)
                sizes.append((paths[name], node.get_byte_size()))
            if not _is_weight(node):
                continue
            codes = _codes(node)
            parameters += codes.size
            nonzero += int(np.count_nonzero(codes != _zero_point(node)))
            dtypes[node.get_element_type().get_type_name()] += codes.size
            weights.append((paths[name], codes.size))
        return Inventory(parameters, nonzero, dict(dtypes), dict(operators), by_layer(sizes, weights))


def _precision(options: Mapping[str, Any]) -> str:
    return {"fp32": "f32", "bf16": "bf16"}[options.get("precision", "fp32")]


def _compiled(model: Any, options: Mapping[str, Any], device: str, threads: int) -> Any:
    import openvino

    if device != "cpu":
        raise PressbenchError(f"the openvino runtime runs on the CPU here, not on {device}")
    precision = _precision(options)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # The defaults, 8 bits and groups of 32, would be compression nobody asked for.
        "KV_CACHE_PRECISION": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": options.get("activation_group_size", 0),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    with told_where_held():
        return openvino.Core().compile_model(model, "CPU", settings)


def _types(graph: Any) -> dict[str, Any]:
    """Input of a graph, compiled or not -> numpy's type of it."""
    return {port.get_any_name(): port.get_element_type().to_dtype() for port in graph.inputs}


def _place(compiled: Any, output: str) -> int:
    """Which of the outputs is called that."""
    return next(number for number, port in enumerate(compiled.outputs) if output in port.get_names())


def _paths(nodes: Sequence[Any]) -> dict[str, str]:
    """Constant -> path of the module that it belongs to, empty where that is not known: by the operators that it
    reaches, whose names begin with their module."""
    users: dict[str, list[str]] = {}
    known: dict[str, str] = {}
    constants = []
    for node in nodes:
        name = node.get_friendly_name()
        users[name] = [t.get_node().get_friendly_name() for port in node.outputs() for t in port.get_target_inputs()]
        if node.get_type_name() == "Constant":
            constants.append(name)
        elif name.startswith(WRAPPER) and "/" in name:
            known[name] = name.partition("/")[0].removeprefix(WRAPPER)
    return {name: spread(users, known, name) for name in constants}


def _codes(constant: Any) -> np.ndarray:
    """Its values in its shape, those of less than a byte one by one."""
    values, kind = constant.get_data(), constant.get_element_type()
    if kind.bitwidth >= 8:
        return np.asarray(values)
    if kind.bitwidth == 4:  # the first in the lower half of a byte; openvino.helpers takes the upper one first
        halves = np.asarray(values).view(np.uint8).reshape(-1, 1) >> np.array([0, 4], np.uint8) & 15
        shape = list(constant.get_output_shape(0))
        return halves.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    from openvino.helpers import unpack_data

    found: np.ndarray = unpack_data(values, kind, list(constant.get_output_shape(0)))
    return found


def _zero_point(constant: Any) -> Any:
    """The codes that stand for 0, to be compared with those of `constant`."""
    for target in constant.output(0).get_target_inputs():
        if target.get_node().get_type_name() != "Convert":
            continue
        for user in (u.get_node() for u in target.get_node().output(0).get_target_inputs()):
            if user.get_type_name() == "Subtract":
                source = user.input_value(1).get_node()
                if source.get_type_name() == "Convert":
                    source = source.input_value(0).get_node()
                if source.get_type_name() == "Constant":
                    return _codes(source)
    return 0


def _weight_of(product: Any) -> Any:
    """The type in which the weights of a matrix product are stored; that of its second input where they are none."""
    source = product.input_value(1)
    while source.get_node().get_type_name() in _DECODING:
        source = source.get_node().input_value(0)
    constant = source.get_node().get_type_name() == "Constant"
    return (source if constant else product.input_value(1)).get_element_type()


def _is_weight(constant: Any) -> bool:
    """Weights are constants with more than one value that are no index, scale or quantization limit."""
    if np.prod(constant.get_output_shape(0)) < 2 or constant.get_element_type().get_type_name() in (
        "i64",
        "i32",
        "boolean",
    ):
        return False
    targets = list(constant.output(0).get_target_inputs())
    for target in targets:  # which grows: a zero point is converted first
        user = target.get_node()
        kind = user.get_type_name()
        if kind == "Convert":
            targets += user.output(0).get_target_inputs()
        if kind == "FakeQuantize" and target.get_index() > 0:
            return False  # the limits of a quantizer
        if (
            kind in ("Multiply", "Subtract")
            and target.get_index() == 1
            and _from_integers(user.input_value(0).get_node())
        ):
            return False  # the scale or zero point of stored integers
    return True


def _from_integers(node: Any) -> bool:
    if node.get_type_name() == "Subtract":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Convert":
        return False
    source = node.input_value(0).get_node()
    return source.get_type_name() == "Constant" and source.get_element_type().is_integral()
