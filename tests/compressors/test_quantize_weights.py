"""Weight-only quantization: the grid, against torch's own, and what reaches the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressors import artifact, conformance
from compressors.build import build
from compressors.interface import Context, InputSpec, ModelSpec, PressbenchError, Unsupported
from compressors.quantization.bits import unpack
from compressors.quantization.grid import on_grid
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedLinear
from compressors.quantization.weights import QuantizeWeights
from compressors.skeleton import skeleton

BITS = range(2, 9)


def quantize_linear(weight: Tensor, bits: int, group_size: int, **more: bool) -> PackedWeight:
    return nearest(LinearGrid(bits, group_size, **more), weight)


def matrix(rows: int = 16, columns: int = 24) -> Tensor:
    """Rows of very different size, and of both signs mostly."""
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))
    return values * torch.logspace(-4, 2, rows)[:, None]


def steps(packed, columns: int) -> Tensor:
    """The step of the grid at every weight: (rows, columns)."""
    scale = packed.scale.float().repeat_interleave(packed.layout.group_size, dim=1)[:, :columns]
    return scale.expand(packed.rows, columns)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("size,per_tensor", [(24, True), (24, False), (8, False), (5, False), (1, False)])
@pytest.mark.parametrize("bits", BITS)
def test_every_weight_stays_within_half_a_step(bits: int, size: int, per_tensor: bool, symmetric: bool) -> None:
    weight = matrix()
    packed = quantize_linear(weight, bits, size, symmetric=symmetric, per_tensor=per_tensor)
    error = (packed.dequantize() - weight).abs() / steps(packed, 24)
    assert float(error.max()) <= 0.5 + 1e-4


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_agrees_with_torch_fake_quantize(bits: int, symmetric: bool) -> None:
    weight = matrix()
    packed = quantize_linear(weight, bits, 24, symmetric=symmetric)
    zero = torch.full((16,), 2 ** (bits - 1)) if symmetric else unpack(packed.zero, bits, 1).flatten()
    scale = packed.scale.float().flatten()
    expected = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, 0, 2**bits - 1)
    # torch multiplies by 1 / scale: what lies midway between two points may go either way.
    midway = ((weight / scale[:, None]).abs() % 1 - 0.5).abs() < 1e-3
    assert float(midway.float().mean()) < 0.1
    assert bool((torch.isclose(packed.dequantize(), expected, rtol=1e-6, atol=0) | midway).all())


@pytest.mark.parametrize("bits", BITS)
def test_the_symmetric_grid_ends_half_a_step_before_the_largest_weight(bits: int) -> None:
    weight = torch.linspace(-1, 1, 4097)[None]
    packed = quantize_linear(weight, bits, 4097, symmetric=True)
    values = packed.dequantize()
    assert len(values.unique()) == 2**bits - 1
    assert float(values.max()) == pytest.approx(1 - float(packed.scale) / 2, abs=1e-3)


@pytest.mark.parametrize("bits", BITS)
def test_the_asymmetric_grid_uses_every_point(bits: int) -> None:
    packed = quantize_linear(torch.linspace(-0.3, 1.7, 4096)[None], bits, 4096, symmetric=False)
    assert len(packed.dequantize().unique()) == 2**bits


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_zero_stays_exactly_zero(bits: int, symmetric: bool) -> None:
    weight = matrix()
    weight[:, ::3] = 0
    weight[2] = 0  # padding's row
    weight[5, 1::3], weight[5, 2::3] = 3.0, 7.0  # nothing below zero
    values = quantize_linear(weight, bits, 8, symmetric=symmetric).dequantize()
    assert bool((values[weight == 0] == 0).all())


@pytest.mark.parametrize("value", [0.0, -3.0, 2.5, 1e-12, -1e30])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_of_one_value_is_no_trap(value: float, symmetric: bool) -> None:
    weight = torch.full((2, 8), value)
    packed = quantize_linear(weight, 4, 8, symmetric=symmetric)
    error = float((packed.dequantize() - weight).abs().max())
    assert error <= abs(value) * (1.001 / 15 if symmetric else 1e-3)


def test_a_tiny_row_is_not_wiped_out_by_its_neighbours_type() -> None:
    """A scale of 1e-9 is zero in fp16."""
    weight = torch.stack([torch.linspace(-1, 1, 16), torch.linspace(-1e-7, 1e-7, 16)])
    packed = quantize_linear(weight, 8, 16, symmetric=True)
    assert packed.layout.scale_dtype == "float32"
    assert float((packed.dequantize()[1] - weight[1]).abs().max()) <= 1e-7 / 250


def test_a_model_that_is_not_finite_is_refused() -> None:
    with pytest.raises(PressbenchError, match="not finite"):
        quantize_linear(torch.tensor([[1.0, float("nan")]]), 4, 2, symmetric=True)


def test_per_tensor_stores_one_scale() -> None:
    assert quantize_linear(matrix(), 8, 24, symmetric=True, per_tensor=True).scale.shape == (1, 1)


@pytest.mark.parametrize("bits,size", [(8, 64), (4, 64), (4, 32), (3, 64), (5, 16), (2, 32)])
def test_bytes_on_disk_are_the_bits_and_the_scales(
    tiny: conformance.Subject, tmp_path: Path, bits: int, size: int
) -> None:
    compressor = QuantizeWeights(bits=bits, group_size=size)
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    state = made.model().state_dict()
    packed = [m for m in made.model().modules() if isinstance(m, PackedWeight)]
    weights = sum(p.rows * p.columns for p in packed)
    scales = sum(p.rows * -(-p.columns // size) for p in packed)
    rest = sum(t.numel() * t.element_size() for n, t in state.items() if not n.endswith((".codes", ".scale")))
    header = (made.directory / "model.safetensors").read_bytes()[:8]
    body = made.directory.joinpath("model.safetensors").stat().st_size - 8 - int.from_bytes(header, "little")
    assert body == weights * bits // 8 + 2 * scales + rest
    assert weights * 4 > 0.8 * tiny.dense.disk_bytes - 40_000  # nearly all of the model is covered


@pytest.mark.parametrize(
    "compressor",
    [
        QuantizeWeights(bits=3, symmetric=False, group_size=10),
        QuantizeWeights(bits=7, granularity="tensor"),
        QuantizeWeights(bits=6, granularity="channel", symmetric=False, embedding_bits=0),
    ],
    ids=str,
)
def test_reloads_with_the_same_answers_and_bytes(tiny: conformance.Subject, tmp_path: Path, compressor) -> None:
    context = tiny.context(compressor)
    inputs = {name: values.numpy() for name, values in tiny.examples.inputs.items()}
    in_memory = compressor.compress(tiny.dense.model(), context).model
    made = build([compressor], tiny.dense, context, tmp_path / "a")
    with torch.inference_mode():
        before = in_memory(**tiny.examples.inputs).logits
    assert torch.equal(torch.from_numpy(made.load(threads=1)(inputs)), before)
    assert build([compressor], tiny.dense, context, tmp_path / "b").digest == made.digest


def test_eight_bits_hardly_move_the_logits(tiny: conformance.Subject) -> None:
    model = QuantizeWeights(bits=8, granularity="channel").compress(tiny.dense.model(), tiny.context()).model
    with torch.inference_mode():
        logits = model(**tiny.examples.inputs).logits
    dense = tiny.examples.dense_logits
    assert float((logits - dense).norm() / dense.norm()) < 0.05


def test_a_vits_convolution_and_a_small_classifier_stay(tiny: conformance.Subject) -> None:
    model = QuantizeWeights().compress(tiny.dense.model(), tiny.context()).model
    assert isinstance(model.classifier, nn.Linear)
    kinds = {type(m) for m in model.modules()}
    assert PackedLinear in kinds and nn.Embedding not in kinds
    if "pixel_values" in tiny.spec.inputs:
        assert nn.Conv2d in kinds


def test_embeddings_can_be_left_out(tiny_bert: conformance.Subject) -> None:
    model = QuantizeWeights(embedding_bits=0).compress(tiny_bert.dense.model(), tiny_bert.context()).model
    assert sum(isinstance(m, nn.Embedding) for m in model.modules()) == 3


def test_a_tied_output_is_stored_once(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 200,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "tie_word_embeddings": True,
    }
    spec = ModelSpec("tiny-llama", config, {"input_ids": InputSpec("int64", ("batch", "sequence"))})
    torch.manual_seed(0)
    dense = artifact.save(skeleton(config), tmp_path / "dense", spec)
    loaded = dense.model()
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    compressor = QuantizeWeights(bits=4, group_size=32)
    made = build([compressor], dense, Context(spec, conformance.HARDWARE, dense.model), tmp_path / "made")
    model = made.model()
    assert model.lm_head.packed is model.model.embed_tokens.packed
    assert made.inventory().parameters == dense.inventory().parameters
    ids = torch.randint(0, 200, (2, 8))
    with torch.inference_mode():
        direct = compressor.compress(dense.model(), Context(spec, conformance.HARDWARE, dense.model)).model
        assert torch.equal(model(ids).logits, direct(ids).logits)


def test_quantizing_twice_says_so(tiny: conformance.Subject) -> None:
    compressor = QuantizeWeights(bits=8)
    model = compressor.compress(tiny.dense.model(), tiny.context()).model
    with pytest.raises(Unsupported, match="packed already, no layer is left to quantize"):
        compressor.compress(model, tiny.context())


@pytest.mark.parametrize(
    "parameters,message",
    [
        ({"bits": 1}, "bits = 1: must be a whole number from 2 to 8"),
        ({"bits": 9}, "bits = 9"),
        ({"bits": 4.5}, "bits = 4.5"),
        ({"granularity": "row"}, "granularity = 'row': must be one of tensor, channel, group"),
        ({"group_size": 0}, "group_size = 0: must be a whole number of columns, at least 1"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeWeights(**parameters)


# -- weights that are on the grid already ----------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("size,per_tensor", [(24, True), (24, False), (8, False), (5, False)])
@pytest.mark.parametrize("bits", BITS)
def test_what_was_quantized_is_on_the_grid_and_what_was_not_is_not(
    bits: int, size: int, per_tensor: bool, symmetric: bool
) -> None:
    weight = matrix()
    weight[3] = 0
    grid = {"group_size": size, "symmetric": symmetric, "per_tensor": per_tensor}
    once = quantize_linear(weight, bits, **grid).dequantize()
    assert on_grid(once, bits, **grid)
    assert not on_grid(weight, bits, **grid)
    once[-1, -1] *= 1.01
    once[-1, -2] *= 0.97
    assert not on_grid(once, bits, **grid) or not once[-1, -2:].any()


def test_a_coarser_grid_lies_on_a_finer_one_and_not_the_other_way() -> None:
    once = quantize_linear(matrix(), 3, 24, symmetric=True).dequantize()
    assert on_grid(once, 8, 24, symmetric=True)
    assert not on_grid(quantize_linear(matrix(), 8, 24, symmetric=True).dequantize(), 3, 24, symmetric=True)


def test_a_model_on_the_grid_is_unsupported_and_says_so(tiny: conformance.Subject) -> None:
    method = QuantizeWeights(bits=4, group_size=16)
    model = tiny.dense.model()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                layer.weight.copy_(quantize_linear(layer.weight, 4, 16, symmetric=True).dequantize())
    with pytest.raises(Unsupported, match=r"^quantize-weights: the weights lie on a 4-bit grid already \(each group"):
        method.compress(model, tiny.context(method))
