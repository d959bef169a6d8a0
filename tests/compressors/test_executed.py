"""What a pass executes, counted in torch, in ONNX and on OpenVINO: the same model, the same operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as opset
from torch import nn

from compressors import conformance, registry
from compressors.runtimes.executed import Executed, of_torch, product
from compressors.runtimes.openvino import GRAPH, OpenvinoRuntime
from compressors.tiny_specs import TINY_SPECS

KINDS = ("bert", "llama", "vit")


def executed(label: str, kind: str, batch: int = 4) -> Executed:
    made = conformance._made(registry.variants()[label].steps, kind)
    found = made.executed({name: values[:batch] for name, values in conformance._inputs(kind).items()})
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_runtimes_agree_to_the_last_operation(kind: str) -> None:
    counts = {label: executed(label, kind) for label in ("dense", "torch-bf16", "onnxruntime-fp32", "openvino-fp32")}
    assert len({found.total for found in counts.values()}) == 1, counts
    assert set(counts["dense"].operations) == {"float32"} and set(counts["torch-bf16"].operations) == {"bfloat16"}
    assert counts["torch-bf16"].weight_bytes == pytest.approx(counts["dense"].weight_bytes / 2, rel=0.02)


def test_a_bert_by_hand() -> None:
    config = TINY_SPECS["bert"].config
    width, inner, layers, tokens, batch = 64, 128, 4, 16, 4
    rows = batch * tokens
    layer = 4 * product(rows, width, width) + 2 * product(rows, width, inner)
    attention = 2 * product(batch * 4 * tokens, width // 4, tokens)
    head = product(batch, width, width) + product(batch, width, 3)
    assert config["hidden_size"] == width
    assert executed("dense", "bert").total == layers * (layer + attention) + head


@pytest.mark.parametrize(
    ("label", "narrow"),
    [
        ("int8-onnxruntime", "int8"),
        ("int8-openvino", "int8"),
        ("int8-dynamic-torch", "int8"),
        ("int8-static-torch", "int8"),
        ("weight-only-4bit-g64", "int4"),
    ],
)
def test_products_on_fewer_bits_are_told(label: str, narrow: str) -> None:
    found = conformance._made(registry.variants("full")[label].steps, "bert").executed(
        {name: values[:4] for name, values in conformance._inputs("bert").items()}
    )
    assert found is not None and found.total == executed("dense", "bert").total
    assert found.operations[narrow] > 0.9 * found.total and found.narrower(16) > 0.9


def test_a_table_is_not_read_whole_and_codes_are() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1000, 8)
            self.register_buffer("codes", torch.zeros(8, 8, dtype=torch.uint8))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.table(ids) @ self.codes.float()

    model = Two().eval()
    with torch.inference_mode():
        found = of_torch(model, lambda: model(torch.tensor([1, 2, 3])))
    assert found.total == product(3, 8, 8)
    assert found.weight_bytes == 64, "the codes of one byte, and not the thousand rows"


def of_graph(node: Any, inputs: dict[str, np.ndarray], folder: Path) -> Executed | None:
    """What OpenVINO is told to execute of one operator and what it takes."""
    parameters = [
        source.get_node() for source in node.input_values() if source.get_node().get_type_name() == "Parameter"
    ]
    node.output(0).get_tensor().set_names({"out"})
    openvino.save_model(openvino.Model([node], parameters), str(folder / GRAPH), compress_to_fp16=False)
    return OpenvinoRuntime().executed(folder, {"options": {"precision": "fp32"}}, inputs)


def test_a_convolution_in_groups_is_counted_by_its_groups(tmp_path: Path) -> None:
    layer, images = nn.Conv1d(6, 12, 3, groups=3, bias=False), torch.randn(2, 6, 9)
    with torch.inference_mode():
        wanted = of_torch(layer, lambda: layer(images))
    assert wanted.total == 2 * (2 * 12 * 7) * (6 // 3 * 3)
    x = opset.parameter([-1, 6, 9], openvino.Type.f32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    weight = opset.constant(layer.weight.detach().numpy().reshape(3, 4, 2, 3))
    found = of_graph(opset.group_convolution(x, weight, [1], [0], [0], [1]), {"x": images.numpy()}, tmp_path)
    assert found is not None and found.operations == wanted.operations


def test_nothing_is_told_of_a_graph_that_multiplies_in_other_ways(tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], openvino.Type.f32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    product_ = opset.einsum([x.output(0), opset.constant(np.ones((4, 2), np.float32)).output(0)], "ij,jk->ik")
    assert of_graph(product_, {"x": np.ones((3, 4), np.float32)}, tmp_path) is None
