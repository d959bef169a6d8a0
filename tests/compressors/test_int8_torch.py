"""int8 in torch on whole models: what reaches the disk, the ranges that data reaches, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build_step
from compressors.conformance import Subject
from compressors.interface import Hardware, PressbenchError
from compressors.quantization.int8_kernels import StaticInt8Linear
from compressors.quantization.int8_torch import Int8DynamicTorch, Int8StaticTorch, ends
from compressors.tiny_specs import TINY_SPECS

FP32, VNNI = Hardware("cpu", "cpu-avx2", frozenset({"avx2"})), Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}))
BOTH = pytest.mark.parametrize("method", [Int8DynamicTorch(), Int8StaticTorch()], ids=lambda method: method.name)


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
