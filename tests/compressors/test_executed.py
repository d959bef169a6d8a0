"""What a pass executes, counted in torch, in ONNX and on OpenVINO: the same model, the same operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as opset
from torch import nn

from compressors import conformance, registry
from compressors.runtimes.executed import Executed, Uncounted, of_torch, product
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


@torch.library.custom_op("planted::product", mutates_args=())
def planted_product(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return values @ weight


@torch.library.custom_op("planted::of_several", mutates_args=())
def planted_of_several(values: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    return values @ weights[0]


@torch.library.custom_op("planted::dequantize", mutates_args=())
def planted_dequantize(codes: torch.Tensor) -> torch.Tensor:
    return codes * 2.0


class Multiplying(nn.Module):
    """A weight, and what is done with it."""

    def __init__(self, how: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(32, 32, dtype=dtype))
        self.how = how

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.how(values, self.weight)


@pytest.mark.parametrize(
    ("how", "narrow", "rows"),
    [
        (torch.mm, "float32", 20),
        (torch._int_mm, "int8", 20),
        (lambda values, weight: torch.mv(weight, values[0]), "float32", 1),
        (lambda values, weight: torch.addmv(values[0], weight, values[0]), "float32", 1),
        (lambda values, weight: values.new_zeros(20, 32).addmm_(values, weight), "float32", 20),
        (lambda values, weight: torch._addmm_activation(weight[0], values, weight), "float32", 20),
        (lambda values, weight: values.new_zeros(1, 20, 32).baddbmm_(values[None], weight[None]), "float32", 20),
    ],
)
def test_every_way_to_multiply_is_counted(how: Any, narrow: str, rows: int) -> None:
    dtype = torch.int8 if narrow == "int8" else torch.float32
    model, values = Multiplying(how, dtype), torch.ones(20, 32, dtype=dtype)
    with torch.inference_mode():
        assert of_torch(model, lambda: model(values)).operations == {narrow: product(rows, 32, 32)}


def test_products_of_experts_are_counted_by_their_rows() -> None:
    model = Multiplying(lambda values, weight: weight, torch.bfloat16)
    model.weight = torch.ones(2, 32, 32, dtype=torch.bfloat16)
    values, ends = torch.ones(48, 32, dtype=torch.bfloat16), torch.tensor([16, 48], dtype=torch.int32)
    with torch.inference_mode():
        found = of_torch(model, lambda: torch._grouped_mm(values, model.weight, offs=ends))
    assert found.operations == {"bfloat16": product(48, 32, 32)}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda values, weight: planted_product(values, weight), "planted.product"),
        (lambda values, weight: planted_product(planted_product(values, values.T), weight), "planted.product"),
        (lambda values, weight: planted_product(values, weight.t().contiguous()), "planted.product"),
        (lambda values, weight: planted_product(values.double(), weight.double()), "planted.product"),
        (lambda values, weight: planted_product(values, planted_dequantize(weight)), "planted.product"),
        (lambda values, weight: planted_of_several(values, [weight]), "planted.of_several"),
        (lambda values, weight: torch.cdist(values, weight), "_cdist_forward|nothing that multiplies"),
        (
            lambda values, weight: torch._trilinear(values[None], weight[None], values[None], [], [], [], [0]),
            "_trilinear",
        ),
        (lambda values, weight: values + weight, "nothing that multiplies was seen"),
        (lambda values, weight: torch.sparse.mm(weight.to_sparse(), values.T), "_sparse_mm|addmm"),
    ],
)
def test_what_nobody_counts_is_no_saving(how: Any, told: str) -> None:
    """As `operations 54.6 M → 4.19 M` was of a model whose layers a library's kernels multiply."""
    model, values = Multiplying(how, torch.float32), torch.ones(32, 32)
    with torch.inference_mode(), pytest.raises(Uncounted, match=told):
        of_torch(model, lambda: model(values))


def test_a_librarys_operator_that_reads_no_weight_does_not_count() -> None:
    model = Multiplying(lambda values, weight: planted_product(values, values) @ weight, torch.float32)
    values = torch.ones(32, 32)
    with torch.inference_mode():
        assert of_torch(model, lambda: model(values)).total == product(32, 32, 32)


def test_codes_that_a_library_decodes_are_multiplied_by_what_is_counted() -> None:
    model = Multiplying(lambda values, weight: values @ planted_dequantize(weight), torch.float32)
    with torch.inference_mode():
        assert of_torch(model, lambda: model(torch.ones(32, 32))).total == product(32, 32, 32)


def test_whole_layers_and_packed_weights_of_torch_are_not_passed_over() -> None:
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True).eval()
    packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(32, 32)), {nn.Linear})
    for model, values in ((layer, torch.ones(1, 4, 32)), (packed, torch.ones(4, 32))):
        with torch.inference_mode(), pytest.raises(Uncounted, match=r"_transformer_encoder_layer_fwd|linear_dynamic"):
            of_torch(model, lambda model=model, values=values: model(values))  # type: ignore[misc]


def test_nothing_of_nothing_is_no_mistake() -> None:
    model = Multiplying(lambda values, weight: torch.mv(weight[:0], values[0]).sum() + values @ weight, torch.float32)
    with torch.inference_mode():
        assert of_torch(model, lambda: model(torch.ones(32, 32))).total == product(32, 32, 32)


def test_a_tensor_made_of_others_is_read_as_these_lie() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    model = nn.Linear(32, 8, bias=False)
    model.weight = nn.Parameter(TwoTensor(torch.ones(8, 32), torch.ones(8, 32)), requires_grad=False)
    found = of_torch(model, lambda: model(torch.ones(4, 32)))
    assert found.weight_bytes == 2 * 8 * 32 * 4 and found.total % product(4, 32, 8) == 0 and found.total


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
