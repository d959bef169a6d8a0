"""What no operator of ONNX Runtime takes is refused with its layer, or left as it was and told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parent))
from onnx_codes import ROWS, coded, graph_of, packed

from compressors import conformance, surgery
from compressors.interface import PressbenchError, Unsupported
from compressors.quantization import codes_onnxruntime
from compressors.quantization.packed import Layout, PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear
from compressors.quantization.weight_only_onnxruntime import WeightOnlyOnnxRuntime
from compressors.quantization.weights import QuantizeWeights
from compressors.tiny_specs import TINY_SPECS


class _Two(nn.Module):
    """A table and a layer of one matrix, such as tied ones."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.table, self.head = PackedEmbedding(weight), PackedLinear(weight, None)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(input_ids % ROWS))


def given_to(weight: PackedWeight, plain: dict[str, str] | None = None) -> tuple[Any, dict[str, str]]:
    spec = TINY_SPECS["bert"]
    return codes_onnxruntime.with_codes(_Two(weight), spec, 0, plain or {})


def of_zeros(**more: torch.Tensor) -> PackedWeight:
    codes = torch.zeros(ROWS, 64, dtype=torch.uint8)
    return PackedWeight.from_codes(codes, torch.ones(ROWS, 1), bits=4, group_size=64, **more)


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (packed(3, 64, 64, True)[0], "3 bits"),
        (packed(4, 24, 96, True)[0], "groups of 24, no multiple of 16 columns"),
        (of_zeros(levels=torch.arange(16.0)), "codes of a table of values"),
        (of_zeros(zero=torch.full((ROWS, 1), 7.5)), "zero points between codes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_codes_that_no_operator_takes_are_refused_with_the_layer_and_the_grid(weight: PackedWeight, told: str) -> None:
    with pytest.raises(Unsupported) as caught:
        given_to(weight)
    assert f"no kernel takes these codes ({told}): " in str(caught.value) and "(head is the first of 1 " in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_layer_that_the_graph_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an exporter would that folds a number into a weight."""
    weight, values = packed(4, 64, 192, True)
    monkeypatch.setattr(codes_onnxruntime, "to_onnx", lambda *_: graph_of("MatMul", 2 * values))
    with pytest.raises(PressbenchError, match="head: the exported graph does not hold its decoded weight"):
        given_to(weight)


def test_a_table_that_is_not_looked_up_and_a_head_that_is_not_covered_are_decoded_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, values = packed(4, 64, 192, True)
    monkeypatch.setattr(codes_onnxruntime, "to_onnx", lambda *_: graph_of("MatMul", values))
    made, left = given_to(weight)
    assert left == {"table": "no rows of it are looked up in the graph"} and coded(made.graph, "MatMulNBits")
    with pytest.raises(Unsupported, match=r"no kernel takes these codes \(head = false\)"):
        given_to(weight, {"head": "head = false"})


def test_an_uncovered_head_keeps_the_dense_weights() -> None:
    rounding, _ = WeightOnlyOnnxRuntime(bits=8, group_size=32, head=False).steps
    model = conformance.subject("llama").dense.model()
    before = model.lm_head.weight.detach().clone()
    context = conformance.subject("llama").context(rounding)
    after = rounding.compress(model, context).model
    assert torch.equal(after.lm_head.weight, before) and type(after.model.embed_tokens) is nn.Embedding
    layer = surgery.get(after, surgery.block_linears(conformance.subject("llama").dense.model())[0])
    assert isinstance(layer, PackedLinear) and layer.packed.layout == Layout(8, 32, zero_points=True)


def test_what_is_packed_already_is_not_rounded_again() -> None:
    bert = conformance.subject("bert")
    rounded = conformance._made((QuantizeWeights(bits=4),), "bert")
    first, _ = WeightOnlyOnnxRuntime(bits=4).steps
    with pytest.raises(Unsupported, match="the weights are packed already"):
        first.compress(rounded.model(), bert.context(first))
    with pytest.raises(Unsupported, match="no linear layer is packed: a method that rounds must be before it"):
        WeightOnlyOnnxRuntime(bits=None).compress(bert.dense.model(), bert.context())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bits": 3}, "bits = 3: must be one of 4, 8, None"),
        ({"group_size": 48}, "group_size = 48: must be one of 16, 32, 64, 128, 256"),
        ({"accuracy_level": 2}, "accuracy_level = 2: must be one of 0, 4"),
    ],
)
def test_parameters_out_of_range_are_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WeightOnlyOnnxRuntime(**wrong)
