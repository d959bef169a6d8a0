"""int8 in torch: the product against float64, what saturates, what reaches the disk, ranges, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from benchmarks.hardware import select
from compressors import conformance, surgery
from compressors.build import build_step
from compressors.conformance import Subject
from compressors.interface import Hardware, PressbenchError
from compressors.quantization.int8_kernels import DynamicInt8Linear, Int8x8Linear, StaticInt8Linear, saturates
from compressors.quantization.int8_torch import Int8DynamicTorch, Int8StaticTorch, ends
from compressors.tiny_specs import TINY_SPECS

FP32, VNNI = Hardware("cpu", "cpu-avx2", frozenset({"avx2"})), Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}))
SHAPES = [(96, 192), (3, 5), (384, 64)]
LOW, STEP, ZERO = -1.25, 2.0**-6, 80
"""Of the static layers here: 256 points from -80 to 175 steps."""
BOTH = pytest.mark.parametrize("method", [Int8DynamicTorch(), Int8StaticTorch()], ids=lambda method: method.name)


def filled(cls: type[Int8x8Linear], shape: tuple[int, int], *, bias: bool = True, steps: int = 63) -> Int8x8Linear:
    """A layer whose rows differ by four decades, laid out for the product."""
    coin = torch.Generator().manual_seed(5)
    weight = torch.randn(shape, generator=coin) * torch.logspace(-3, 1, shape[0])[:, None]
    shift = nn.Parameter(torch.randn(shape[0], generator=coin), requires_grad=False) if bias else None
    made = cls(*shape, shift)
    made.quantize(weight, steps)
    if isinstance(made, StaticInt8Linear):
        made.expect(LOW, LOW + 255 * STEP)
    return made


def between(codes: np.ndarray) -> np.ndarray:
    """Codes and up to 0.45 beyond them: what rounds to them and to nothing else. The ends stay."""
    off = np.random.default_rng(3).uniform(-0.45, 0.45, codes.shape)
    return codes + np.where((codes == 0) | (codes == 255), 0, off)


def some_codes(rows: int, columns: int) -> np.ndarray:
    """Each row with both ends."""
    codes = np.random.default_rng(4).integers(0, 256, (rows, columns))
    codes[:, 0], codes[:, 1] = 255, 0
    return codes


def answered(layer: Int8x8Linear, values: np.ndarray | Tensor) -> np.ndarray:
    with torch.inference_mode():
        return layer(torch.as_tensor(values, dtype=torch.float32)).double().numpy()


def near(found: np.ndarray, layer: Int8x8Linear, seen: np.ndarray, weight: np.ndarray) -> bool:
    """Whether these are activations as the product sees them, (n, in), times codes, (out, in), times scales, and the
    bias, in float64: to the rounding of fp32, in units of what a row and an output may reach."""
    scale, weight = layer.scale.double().numpy(), weight.astype(np.float64)
    bias = np.zeros(1) if layer.bias is None else layer.bias.double().numpy()
    wanted = seen @ weight.T * scale + bias
    reach = np.abs(seen).max(1, keepdims=True) * np.abs(weight).sum(1) * scale + np.abs(bias)
    return bool((np.abs(found - wanted) <= 1e-6 * reach).all())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 37])
def test_dynamic_is_quantize_multiply_dequantize(shape: tuple[int, int], bias: bool, rows: int) -> None:
    layer, codes = filled(DynamicInt8Linear, shape, bias=bias), some_codes(rows, shape[1])
    step, low = 2.0 ** -(np.arange(rows)[:, None] % 9), np.arange(-rows, rows, 2)[:, None] / 8  # exact in fp32
    seen, weight, values = codes * step + low, layer.weight.numpy(), between(codes) * step + low
    assert near(answered(layer, values), layer, seen, weight)  # before it is laid out
    layer.place()
    assert near(answered(layer, values), layer, seen, weight)
    layer.release()
    assert near(answered(layer, values[None])[0], layer, seen, weight)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_static_is_quantize_multiply_dequantize_on_the_stored_grid(shape: tuple[int, int], bias: bool) -> None:
    layer, codes = filled(StaticInt8Linear, shape, bias=bias), some_codes(37, shape[1])
    assert (float(layer.step), int(layer.zero)) == (STEP, ZERO)
    seen, weight, values = (codes - float(ZERO)) * STEP, layer.weight.numpy(), (between(codes) - ZERO) * STEP
    assert near(answered(layer, values), layer, seen, weight)
    layer.place()
    layer.release()
    assert near(answered(layer, values[None])[0], layer, seen, weight)


def test_beyond_the_stored_range_lies_its_end_and_zero_is_exact() -> None:
    layer = filled(StaticInt8Linear, (96, 192))
    layer.place()
    codes = some_codes(5, 192)
    values = (codes - float(ZERO)) * STEP
    far = np.where(codes == 255, 1e6, np.where(codes == 0, -1e6, values))
    assert np.array_equal(answered(layer, far), answered(layer, values))
    assert layer.bias is not None
    assert np.array_equal(answered(layer, np.zeros((2, 192)))[0], layer.bias.double().numpy())


def test_a_range_without_zero_is_stretched_to_it() -> None:
    layer = filled(StaticInt8Linear, (96, 192))
    assert isinstance(layer, StaticInt8Linear)
    for low, high, zero in ((2.0, 5.1, 0), (-5.1, -2.0, 255), (0.0, 0.0, 0)):
        layer.expect(low, high)
        assert int(layer.zero) == zero
        reached = sorted(float(layer.step) * (code - zero) for code in (0, 255))
        assert reached == pytest.approx([min(low, 0), max(high, 0)], abs=1e-6)


def adversarial(columns: int) -> np.ndarray:
    """Code 0 once, so that a row reaches from 0, and 255 everywhere else."""
    codes = np.full((9, columns), 255)
    codes[:, -1] = 0
    return codes


@pytest.mark.parametrize("cls", [DynamicInt8Linear, StaticInt8Linear])
@pytest.mark.parametrize("code", [-63, 63, -64, 64])
def test_weights_of_seven_bits_never_saturate(cls: type[Int8x8Linear], code: int) -> None:
    layer, codes = filled(cls, (384, 384), bias=False), adversarial(384)
    layer.weight, layer.scale = torch.full((384, 384), code, dtype=torch.int8), torch.ones(384)
    if isinstance(layer, StaticInt8Linear):
        layer.expect(0.0, 255.0)
    layer.place()
    exact = codes.astype(np.int64) @ np.full((384, 384), code, dtype=np.int64).T
    assert np.abs(answered(layer, codes) - exact).max() <= 1


@pytest.mark.parametrize("cls", [DynamicInt8Linear, StaticInt8Linear])
def test_weights_of_eight_bits_are_exact_or_refused(cls: type[Int8x8Linear]) -> None:
    layer, codes = filled(cls, (384, 384), bias=False, steps=127), adversarial(384)
    assert int(layer.weight.abs().max()) == 127
    layer.weight, layer.scale = torch.full((384, 384), 127, dtype=torch.int8), torch.ones(384)
    if isinstance(layer, StaticInt8Linear):
        layer.expect(0.0, 255.0)
    if select("cpu").features & {"vnni", "amx"}:
        layer.place()
        assert np.abs(answered(layer, codes) - 255 * 383 * 127).max() <= 1
    else:
        with pytest.raises(PressbenchError, match="saturate in this CPU's int8 product, which has no VNNI"):
            layer.place()


def test_saturation_is_what_the_flags_of_the_processor_say() -> None:
    assert saturates() == (not select("cpu").features & {"vnni", "amx"})


def test_a_position_has_its_own_grid_whatever_stands_beside_it() -> None:
    layer = filled(DynamicInt8Linear, (96, 192))
    layer.place()
    values = np.random.default_rng(0).normal(size=(4, 192))
    alone = answered(layer, values[:1])
    values[1], values[2], values[3, 7] = 1e6, np.nan, np.inf
    found = answered(layer, values)
    assert np.array_equal(found[:1], alone)
    assert np.isnan(found[2]).all() and not np.isfinite(found[3]).any()


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e20])
def test_a_constant_row_is_not_divided_by_its_width(value: float) -> None:
    layer = filled(DynamicInt8Linear, (96, 192))
    layer.place()
    seen = np.full((2, 192), np.float32(value), dtype=np.float64)
    assert near(answered(layer, seen), layer, seen, layer.weight.numpy())


def test_shapes_and_types_are_kept() -> None:
    for cls in (DynamicInt8Linear, StaticInt8Linear):
        layer = filled(cls, (96, 192))
        layer.place()
        with torch.inference_mode():
            assert layer(torch.randn(2, 3, 5, 192)).shape == (2, 3, 5, 96)
            assert layer(torch.randn(192)).shape == (96,)
            assert layer(torch.randn(4, 192, dtype=torch.bfloat16)).dtype == torch.bfloat16
            assert layer(torch.randn(2, 192, 7).transpose(1, 2)).shape == (2, 7, 96)


def test_a_layer_whose_weights_are_zero_stays_so() -> None:
    layer = DynamicInt8Linear(16, 16, None)
    layer.quantize(torch.zeros(16, 16))
    layer.place()
    assert not answered(layer, np.random.default_rng(0).normal(size=(3, 16))).any()


# -- whole models --------------------------------------------------------------------------------


def stored(method: Int8DynamicTorch | Int8StaticTorch, tiny: Subject, hardware: Hardware, folder: Path) -> Path:
    context = dataclasses.replace(tiny.context(method), hardware=hardware)
    return build_step(method, tiny.dense, context, folder / hardware.hardware_class).directory


@BOTH
@pytest.mark.parametrize(("hardware", "most"), [(FP32, 63), (VNNI, 127)], ids=["avx2", "vnni"])
def test_codes_times_scales_of_the_file_are_the_dense_weights_to_half_a_step(
    method: Int8DynamicTorch | Int8StaticTorch, hardware: Hardware, most: int, tiny: Subject, tmp_path: Path
) -> None:
    folder = stored(method, tiny, hardware, tmp_path)
    file, dense = load_file(folder / "model.safetensors"), load_file(tiny.dense.directory / "model.safetensors")
    assert {path.name for path in folder.iterdir()} == {"artifact.json", "model.safetensors"}
    layers = [name for name, values in file.items() if values.dtype == np.int8]
    assert len(layers) == 6 * tiny.spec.config["num_hidden_layers"]
    for name in layers:
        scale = file[name.removesuffix("weight") + "scale"][:, None]
        assert scale.dtype == np.float32
        assert np.abs(file[name]).max(1).min() == np.abs(file[name]).max() == most  # in every row
        assert (np.abs(file[name] * scale - dense[name]) <= 0.5001 * scale).all()
    tables = [name.removesuffix(".codes") for name in file if name.endswith(".codes")]
    assert bool(tables) == ("input_ids" in tiny.spec.inputs)
    for name in tables:
        scale = file[f"{name}.scale"].astype(np.float32)
        values = (file[f"{name}.codes"].astype(np.float32) - 128) * scale
        assert (np.abs(values - dense[name]) <= 0.51 * scale).all()


@BOTH
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_answers_stay_near_the_dense_ones(
    method: Int8DynamicTorch | Int8StaticTorch, kind: str, tmp_path: Path
) -> None:
    tiny = conformance.subject(kind)
    made = build_step(method, tiny.dense, tiny.context(method), tmp_path / kind)
    inputs = {name: values[16:].numpy() for name, values in tiny.examples.inputs.items()}  # not what calibrated
    found, wanted = (artifact.load(threads=1)(inputs) for artifact in (made, tiny.dense))
    real = inputs["attention_mask"].astype(bool) if kind == "llama" else ...
    assert 1e-5 < np.sqrt(np.square(found - wanted)[real].mean() / wanted[real].var()) < 0.1


def test_head_and_tables_are_covered_where_asked_for() -> None:
    tiny = conformance.subject("llama")  # its head is its table
    names = {}
    for method in (Int8DynamicTorch(), Int8DynamicTorch(head=True), Int8DynamicTorch(head=True, embeddings=False)):
        made = method.compress(tiny.dense.model(), tiny.context(method)).structure
        names[method] = ("lm_head" in made["layers"], "model.embed_tokens" in made["tables"]["layers"])
    # A table in 8 bits beside a head of the same weights in fp32 would be more to store, not less.
    assert list(names.values()) == [(False, False), (True, False), (True, False)]
    bert = conformance.subject("bert")
    for head, embeddings in ((True, True), (False, False)):
        method = Int8DynamicTorch(head=head, embeddings=embeddings)
        made = method.compress(bert.dense.model(), bert.context(method)).structure
        assert ("classifier" in made["layers"], bool(made["tables"]["layers"])) == (head, embeddings)


def watched(model: nn.Module, tiny: Subject) -> dict[str, tuple[float, float]]:
    """Layer -> the least and the largest value of all examples, where text is."""
    found: dict[str, tuple[float, float]] = {}
    inputs = tiny.examples.inputs
    real = inputs["attention_mask"].bool()

    def note(name: str):
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0][real]
            found[name] = float(values.min()), float(values.max())

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".layer." in name:
            module.register_forward_pre_hook(note(name))
    with torch.no_grad():
        model(**inputs)
    return found


def test_ranges_are_what_the_data_reaches_and_padding_has_no_say(tiny_bert: Subject) -> None:
    method = Int8StaticTorch()
    padded = tiny_bert.examples.inputs["attention_mask"] == 0
    other = tiny_bert.examples.inputs["input_ids"].masked_fill(padded, 5)
    examples = dataclasses.replace(tiny_bert.examples, inputs={**tiny_bert.examples.inputs, "input_ids": other})
    for subject in (tiny_bert, dataclasses.replace(tiny_bert, examples=examples)):
        # three batches: a range is that of all of them
        context = dataclasses.replace(subject.context(method), hardware=FP32, calibration=subject.examples)
        model = method.compress(subject.dense.model(), context).model
        ranges = watched(tiny_bert.dense.model(), tiny_bert)
        assert len(ranges) == 24
        for name, (low, high) in ranges.items():
            layer = surgery.get(model, name)
            step, zero = float(layer.step), int(layer.zero)
            assert step == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-3), name
            assert step * (0 - zero) == pytest.approx(min(low, 0), abs=0.51 * step), name


def test_fewer_samples_and_a_percentile_take_in_less(tiny_bert: Subject) -> None:
    steps = {}
    for method in (Int8StaticTorch(), Int8StaticTorch(samples=1), Int8StaticTorch(percentile=99.0)):
        model = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
        found = [m.step for m in model.modules() if isinstance(m, StaticInt8Linear)]
        steps[method] = torch.stack(found)
    whole, *fewer = steps.values()
    for some in fewer:
        assert bool((some <= whole).all()) and float((some / whole).mean()) < 0.95


@pytest.mark.parametrize("percentile", [100.0, 99.0, 90.0])
def test_a_percentile_is_of_each_side(percentile: float) -> None:
    values = np.random.default_rng(1).permutation(np.arange(-1000.0, 2000.0))
    cut = round(3000 * (100 - percentile) / 100)
    assert ends(torch.tensor(values).view(30, 100), percentile) == (-1000 + cut, 1999 - cut)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("percentile", [0.999, 50, 100.1, float("nan")])
def test_a_percentile_that_is_none(percentile: float) -> None:
    with pytest.raises(ValueError, match=r"percentile = .*: must be above 50 and at most 100"):
        Int8StaticTorch(percentile=percentile)


def test_no_calibration_data(tiny_bert: Subject) -> None:
    with pytest.raises(ValueError, match="samples = 0: must be at least 1"):
        Int8StaticTorch(samples=0)
    context = dataclasses.replace(tiny_bert.context(Int8StaticTorch()), calibration=tiny_bert.examples[:0])
    with pytest.raises(PressbenchError, match="0 calibration examples: needs at least one"):
        Int8StaticTorch().compress(tiny_bert.dense.model(), context)


@BOTH
def test_a_weight_that_is_not_finite_is_named(method: Int8DynamicTorch | Int8StaticTorch, tiny_bert: Subject) -> None:
    model = tiny_bert.dense.model()
    with torch.no_grad():
        surgery.get(model, "bert.encoder.layer.1.output.dense").weight[3, 4] = float("nan")
    with pytest.raises(PressbenchError, match=r"^bert.encoder.layer.1.output.dense: a weight is not finite"):
        method.compress(model, tiny_bert.context(method))


def test_data_that_makes_no_range(tiny_bert: Subject) -> None:
    model = tiny_bert.dense.model()
    with torch.no_grad():
        surgery.get(model, "bert.embeddings.LayerNorm").weight[0] = float("inf")
    with pytest.raises(PressbenchError, match="on the calibration data is not finite"):
        Int8StaticTorch().compress(model, tiny_bert.context(Int8StaticTorch()))


def test_a_model_that_is_quantized_already(tiny_bert: Subject) -> None:
    method = Int8DynamicTorch()
    once = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
    with pytest.raises(PressbenchError, match="the step before it left no linear layers to quantize"):
        method.compress(once, tiny_bert.context(method))


def test_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, gpu = TINY_SPECS["bert"], Hardware("gpu", "cuda-sm90", frozenset({"cuda"}), device="cuda")
    assert Int8DynamicTorch().supports(spec, gpu) == "its products run on the CPU, not on cuda"
    wide = Int8StaticTorch(reduce_range=False)
    assert "saturate in the products of a CPU without VNNI" in (wide.supports(spec, FP32) or "")
    assert wide.supports(spec, VNNI) is None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "is built without oneDNN" in (Int8DynamicTorch().supports(spec, FP32) or "")
