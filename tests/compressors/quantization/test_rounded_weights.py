"""What every rounding shares: which layers it covers, the bits of embedding and output layer, and the grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.interface import ModelSpec, PressbenchError, Unsupported
from compressors.quantization.gptq import QuantizeGptq
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import LaidGrid, nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedEmbedding, PackedLinear
from compressors.quantization.weights import SMALLEST_LINEAR, QuantizeWeights
from compressors.skeleton import skeleton

METHODS = [QuantizeGptq(group_size=16), QuantizeWeights(group_size=16, embedding_bits=0, head_bits=0)]


def packed(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, PackedLinear | PackedEmbedding)}


def compressed(method: Any, subject: conformance.Subject, model: nn.Module | None = None) -> nn.Module:
    return method.compress(model or subject.dense.model(), subject.context(method)).model


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_the_blocks_and_nothing_else(method: Any, kind: str) -> None:
    subject = conformance.subject(kind)
    found, dense = packed(compressed(method, subject)), subject.dense.model()
    small = {name for name in surgery.block_linears(dense) if surgery.get(dense, name).weight.numel() < SMALLEST_LINEAR}
    assert found == set(surgery.block_linears(dense)) - (small if isinstance(method, QuantizeWeights) else set())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", [QuantizeGptq, QuantizeWeights], ids=str)
def test_embedding_and_output_layer_have_bits_of_their_own(method: Any, tied: bool) -> None:
    llama = conformance.subject("llama")
    head = 8 if tied else 6
    chosen = method(bits=3, group_size=16, embedding_bits=8, head_bits=head)
    model = compressed(chosen, llama, skeleton({**llama.spec.config, "tie_word_embeddings": tied}))
    stored = {name: m.packed.layout.bits for name, m in model.named_modules() if hasattr(m, "packed")}
    assert stored["model.embed_tokens"] == 8 and stored["lm_head"] == head
    assert {bits for name, bits in stored.items() if ".layers." in name} == {3}
    assert (model.get_submodule("lm_head").packed is model.get_submodule("model.embed_tokens").packed) == tied


@pytest.mark.parametrize("method", [QuantizeGptq, QuantizeWeights], ids=str)
def test_one_matrix_has_one_number_of_bits(method: Any) -> None:
    llama = conformance.subject("llama")
    spec = ModelSpec("tied", {**llama.spec.config, "tie_word_embeddings": True}, llama.spec.inputs)
    chosen = method(embedding_bits=8, head_bits=0)
    assert "one matrix: embedding_bits and head_bits must be equal" in chosen.supports(spec, conformance.HARDWARE)
    assert method(embedding_bits=8, head_bits=8).supports(spec, conformance.HARDWARE) is None
    model = skeleton(spec.config)
    with pytest.raises(PressbenchError, match="one matrix"):
        compressed(chosen, llama, model)


def test_bits_for_what_is_not_there(tiny: conformance.Subject) -> None:
    reason = QuantizeGptq(head_bits=4).supports(tiny.spec, conformance.HARDWARE)
    assert reason is not None and reason.endswith("has no output layer to give bits to")


@pytest.mark.parametrize(
    "field,value,line",
    [
        ("bits", 1, "bits = 1: must be a whole number from 2 to 8"),
        ("bits", 4.0, "bits = 4.0"),
        ("bits", True, "bits = True"),
        ("embedding_bits", 9, "embedding_bits = 9: must be a whole number from 2 to 8, or 0"),
        ("head_bits", 1, "head_bits = 1"),
        ("group_size", 0, "group_size = 0"),
        ("grid", "round", "grid = 'round': must be one of linear"),
    ],
)
def test_values_that_make_no_sense(field: str, value: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        QuantizeGptq(**{field: value})


def test_weights_on_the_grid_already_are_no_result(tiny: conformance.Subject) -> None:
    model = tiny.dense.model()
    with torch.no_grad():
        for name in surgery.block_linears(model):
            weight = surgery.get(model, name).weight
            weight.copy_(nearest(LinearGrid(4, 16), weight).dequantize())
    with pytest.raises(Unsupported, match=r"lie on a 4-bit grid already \(linear, groups of 16"):
        compressed(QuantizeGptq(group_size=16), tiny, model)
    assert packed(compressed(QuantizeGptq(bits=3, group_size=16), tiny, model))


def test_packed_weights_are_not_packed_again(tiny: conformance.Subject) -> None:
    once = compressed(QuantizeGptq(group_size=16), tiny)
    for method in METHODS:
        with pytest.raises(Unsupported, match="packed already"):
            compressed(method, tiny, once)


def test_a_weight_that_is_not_finite_is_named(tiny: conformance.Subject) -> None:
    model = tiny.dense.model()
    name = surgery.block_linears(model)[3]
    with torch.no_grad():
        surgery.get(model, name).weight[0, 0] = float("inf")
    with pytest.raises(PressbenchError, match=f"{name}: a weight is not finite"):
        compressed(QuantizeGptq(group_size=16), tiny, model)


def matrix(rows: int = 6, columns: int = 40) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_fitted_range_is_the_best_of_those_tried(symmetric: bool) -> None:
    weight, importance = matrix(), torch.linspace(0.1, 5, 40)

    def off(found: Tensor) -> Tensor:
        return ((found - weight).square() * importance).unflatten(1, (-1, 8)).sum(2)

    fitted = off(nearest(LinearGrid(3, 8, symmetric=symmetric, fitted=True), weight, importance).dequantize())
    plain = off(nearest(LinearGrid(3, 8, symmetric=symmetric), weight).dequantize())
    assert bool((fitted <= plain + 1e-6).all()) and float(fitted.sum()) < 0.95 * float(plain.sum())
    unweighted = off(nearest(LinearGrid(3, 8, symmetric=symmetric, fitted=True), weight).dequantize())
    assert float(fitted.sum()) < float(unweighted.sum())


def test_a_table_of_values_is_read_as_it_was_chosen_from(tmp_path: Path) -> None:
    """Levels of one table, and of one a row: the nearest by brute force, and the same after packing."""
    weight = matrix()
    columns = torch.arange(40)
    one = torch.tensor([-1.0, -0.3, 0.1, 0.9])
    many = torch.stack([one * (1 + row) for row in range(6)]).half().float()
    for levels in (one, many):
        scale = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)).half() + 0.1
        laid = LaidGrid(2, 8, scale, levels=levels)
        codes = laid.nearest(weight, columns)
        points = levels.expand(6, 4)[:, None, :] * scale.float().repeat_interleave(8, 1)[:, :, None]
        wanted = (points - weight[:, :, None]).abs().argmin(2)
        assert torch.equal(codes.long(), wanted)
        values = points.gather(2, wanted[:, :, None])[:, :, 0]
        stored = laid.packed(codes)
        assert torch.allclose(laid.decode(codes, columns), values) and torch.allclose(stored.dequantize(), values)
        again = PackedWeight(stored.layout, 6, 40)
        again.load_state_dict(stored.state_dict())
        assert torch.equal(again.dequantize(torch.tensor([4, 1])), stored.dequantize()[[4, 1]])


def test_what_columns_were_multiplied_by_is_divided_out() -> None:
    weight, scale = matrix(), torch.logspace(-1, 1, 40)
    laid = LinearGrid(8, 8).lay(weight * scale)
    stored = laid.packed(laid.nearest(weight * scale, torch.arange(40)), scale)
    assert float((stored.dequantize() - weight).abs().max()) < 0.5 * float(weight.abs().max()) / 8
    again = PackedWeight(stored.layout, 6, 40)
    again.load_state_dict(stored.state_dict())
    assert torch.equal(again.dequantize(), stored.dequantize())
    assert torch.allclose(
        again.dequantize() * scale, laid.packed(laid.nearest(weight * scale, torch.arange(40))).dequantize()
    )


def test_four_bits_with_the_embedding_are_what_they_were(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    """The id of a published row keeps its meaning: all linear layers of some size, and every embedding."""
    method = QuantizeWeights(**QuantizeWeights.variants["4bit-g64"])
    made = build([method], tiny_bert.dense, tiny_bert.context(method), tmp_path)
    found = packed(made.model())
    assert "bert.embeddings.word_embeddings" in found and "bert.embeddings.position_embeddings" in found
