"""Weights in 8 or 4 bits that OpenVINO computes with, against the numbers they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.hardware import select
from compressors import conformance
from compressors.artifact import Artifact
from compressors.interface import Unsupported
from compressors.quantization.weight_only_openvino import WeightOnlyOpenvino
from compressors.runtimes.controls import OpenvinoFp32
from compressors.runtimes.export import to_openvino
from compressors.runtimes.openvino import OpenvinoRuntime
from compressors.tiny_specs import TINY_SPECS
from compressors.witness import witness

METHODS = {bits: WeightOnlyOpenvino(bits=bits, activations=16, float_precision="fp32") for bits in (8, 4)}


def made(method: WeightOnlyOpenvino) -> Artifact:
    return conformance._made(method.steps, "llama")


def inputs() -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in conformance.subject("llama").examples.inputs.items()}


def decoded(source: Any) -> np.ndarray:
    """What a chain of operators makes of constants, in float64, by their definitions."""
    node = source.get_node()
    kind, size = node.get_type_name(), node.get_input_size()
    if kind == "Constant":
        values, type_ = np.asarray(node.get_data()), node.get_element_type().get_type_name()
        if type_ == "u4":  # two a byte, the first in the lower half
            values = np.stack([values & 15, values >> 4], -1).reshape(list(node.get_output_shape(0)))
        return values.astype(np.float64)
    first, *others = (decoded(node.input_value(i)) for i in range(size))
    if kind == "Reshape":
        return first.reshape([int(length) for length in others[0]])
    return first if kind == "Convert" else {"Subtract": np.subtract, "Multiply": np.multiply}[kind](first, *others)


def graph_of(artifact: Artifact) -> Any:
    return OpenvinoRuntime().read(artifact.directory, artifact.manifest)


def products(graph: Any) -> list[Any]:
    """Its matrix products with weights, in the order in which they are computed."""
    return [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul" and of_constants(node)]


def of_constants(node: Any) -> bool:
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")


@pytest.mark.parametrize("bits", [8, 4])
def test_every_weight_ends_within_a_step_of_where_it_was(bits: int) -> None:
    method = WeightOnlyOpenvino(bits=bits, calibrated=False, activations=16, float_precision="fp32")
    before, after = (products(graph_of(conformance._made(m.steps, "llama"))) for m in (OpenvinoFp32(), method))
    assert len(before) == len(after) == TINY_SPECS["llama"].config["num_hidden_layers"] * 7 + 1
    for dense, stored in zip(before, after, strict=True):
        wanted, found = decoded(dense.input_value(1)), decoded(stored.input_value(1))
        head = dense is before[-1]
        groups = wanted.reshape(len(wanted), -1, 64 if bits == 4 and not head else wanted.shape[1])
        low, high = np.minimum(groups.min(2), 0), np.maximum(groups.max(2), 0)
        step = (high - low) / (15 if bits == 4 and not head else 255)
        error = np.abs(found - wanted).reshape(groups.shape).max(2)
        assert (error <= 1.02 * step).all()  # half for rounding, half for where zero is put


@pytest.mark.parametrize("bits", [8, 4])
def test_the_kernel_computes_with_the_very_weights_that_are_stored(bits: int) -> None:
    from openvino import opset13 as opset

    artifact = made(METHODS[bits])
    graph = graph_of(artifact)
    for product in products(graph):
        weights = opset.constant(decoded(product.input_value(1)).astype(np.float32))
        product.input(1).replace_source_output(weights.output(0))
    wanted = OpenvinoRuntime().attach(graph, {"precision": "fp32"}, device="cpu", threads=1)(inputs())
    assert artifact.load(threads=1)(inputs()) == pytest.approx(wanted, abs=2e-4)
    dense = conformance.subject("llama").dense.load(threads=1)(inputs())
    assert np.abs(wanted - dense).max() > 2e-3


def test_steps_fitted_to_data_answer_closer_to_the_dense_model() -> None:
    dense = conformance.subject("llama").dense.load(threads=1)(inputs())
    errors = {}
    for calibrated in (True, False):
        method = WeightOnlyOpenvino(bits=4, calibrated=calibrated, activations=16, float_precision="fp32")
        errors[calibrated] = float(np.square(made(method).load(threads=1)(inputs()) - dense).mean())
    assert errors[True] < 0.95 * errors[False]


def test_activations_are_rounded_only_where_that_was_asked_for() -> None:
    """By processors that multiply 8 bits: for others OpenVINO rounds no activations."""
    exact = made(METHODS[8]).load(threads=1)(inputs())
    rounded = made(WeightOnlyOpenvino(bits=8, float_precision="fp32")).load(threads=1)(inputs())
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert error < 0.05
    assert (error > 1e-5) == ({"vnni", "amx"} & select("cpu").features != set())


def test_what_is_stored_has_the_bits_that_it_claims() -> None:
    dense = conformance.subject("llama").dense
    as_float, linear = conformance._made((OpenvinoFp32(),), "llama").inventory(), 0
    assert "MatMulOnIntegers" not in as_float.operators
    for layer in dense.model().model.modules():
        linear += layer.weight.numel() if type(layer) is torch.nn.Linear else 0
    sizes = {}
    for bits, method in METHODS.items():
        found = made(method).inventory()
        assert found.parameters == as_float.parameters
        assert found.dtypes["u4" if bits == 4 else "u8"] >= linear
        zeros = sum(int((decoded(node.input_value(1)) == 0).sum()) for node in products(graph_of(made(method))))
        assert found.parameters - found.nonzero == zeros > 0  # the embedding is the output layer's
        few = {name: values[:4].numpy() for name, values in conformance.subject("llama").examples.inputs.items()}
        seen, fault = witness(dense, made(method), "kernel", few)
        assert fault is None and any(line.startswith("96% of the operations on fewer bits") for line in seen), seen
        sizes[bits] = sum((made(method).directory / name).stat().st_size for name in ("model.bin",))
    assert sizes[4] < sizes[8] < 0.4 * (dense.directory / "model.safetensors").stat().st_size


def test_weights_that_are_on_the_grid_already_are_refused_and_other_groups_are_not() -> None:
    tiny = conformance.subject("llama")
    model = tiny.dense.model()
    with torch.no_grad():
        for layer in model.modules():
            if type(layer) is torch.nn.Linear:
                codes = layer.weight.unflatten(1, (-1, 32))
                step = codes.abs().amax(2, keepdim=True) / 7
                layer.weight.copy_(((codes / step).round() * step).flatten(1))
    graph = to_openvino(model, tiny.spec)
    method = WeightOnlyOpenvino(bits=4, group_size=32)
    with pytest.raises(Unsupported, match="lie on a 4-bit grid in groups of 32 already"):
        method.compress(graph, tiny.context(method))
    assert WeightOnlyOpenvino(bits=4, calibrated=False).compress(graph, tiny.context(method)).model


def test_a_width_that_no_such_group_divides_has_smaller_ones() -> None:
    """Its layers are 64 and 128 wide: all of them are 4 bits nevertheless."""
    wide = WeightOnlyOpenvino(bits=4, group_size=128, calibrated=False)
    assert made(wide).inventory().dtypes["u4"] == made(METHODS[4]).inventory().dtypes["u4"] > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bits": 3}, "bits = 3: must be one of 4, 8"),
        ({"group_size": 48}, "group_size = 48: must be one of 16, 32, 64, 128, 256"),
        ({"activations": 4}, "activations = 4: must be one of 8, 16"),
        ({"float_precision": "fp16"}, "float_precision = 'fp16': must be one of auto, bf16, fp32"),
        ({"samples": 0}, "samples is 0, must be at least 1"),
    ],
)
def test_parameters_out_of_range_are_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WeightOnlyOpenvino(**wrong)
