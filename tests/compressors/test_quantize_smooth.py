"""SmoothQuant: it changes no answer, it evens out what it should, and int8 loses less behind it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny_architectures
import torch
from torch import Tensor, nn

from compressors import artifact, surgery
from compressors.build import build
from compressors.conformance import Subject, subject
from compressors.interface import Compressor, Context, PressbenchError
from compressors.quantization.int8_onnxruntime import Int8OnnxRuntime
from compressors.quantization.smooth import QuantizeSmooth, ScaledLinear
from compressors.runtimes.controls import OnnxRuntimeFp32
from compressors.stream_tracing import find

ALONE = QuantizeSmooth(executor="none")
# Gemma's norms add one to their weight.
GEMMA = ("GemmaForCausalLM", {**tiny_architectures._WORDS, "num_key_value_heads": 2, "head_dim": 16})


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return model(**inputs).logits


def given(model: nn.Module, names: list[str], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The largest size of each input of these layers where there is no padding, by hooks of the test's own."""
    found: dict[str, Tensor] = {}
    real = inputs["attention_mask"].bool() if "attention_mask" in inputs else None

    def keep(name: str, values: Tensor) -> None:
        rows = values.flatten(0, -2) if real is None else values[real]
        found[name] = rows.abs().amax(0)

    hooks = [surgery.get(model, n).register_forward_pre_hook(lambda _m, a, n=n: keep(n, a[0])) for n in names]
    answers(model, inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name,folded", [("bert", 0), ("vit", 6), ("llama", 6), ("gpt2", 6), ("gemma", 6), ("beit", 0)])
def test_the_answers_stay_and_the_weights_do_not(
    name: str, folded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three blocks of two groups of layers each: behind a norm that takes the scale, or with a product in front."""
    monkeypatch.setitem(tiny_architectures.ARCHITECTURES, "gemma", GEMMA)
    tiny = tiny_architectures.make(name, tmp_path)
    with torch.no_grad():
        for parameter in tiny.model.parameters():
            if parameter.ndim == 1:  # norms that have learned something
                parameter.add_(0.3 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(2)))
    tiny = dataclasses.replace(tiny, dense=artifact.save(tiny.model, tmp_path / "learned", tiny.spec))
    smooth, dense = tiny.artifact(ALONE.steps), surgery.as_linears(tiny.dense.model())
    before, after = (answers(m, tiny.examples.inputs) for m in (tiny.dense.model(), smooth.model()))
    assert float((after - before).abs().max()) < 1e-5 * float(before.abs().max())
    [step] = smooth.recipe
    assert 6 - len(step["structure"]["scaled"]) == folded
    model, changed = smooth.model(), 0
    for layer in surgery.block_linears(dense):
        now = surgery.get(model, layer)
        changed += not torch.equal(now.weight, surgery.get(dense, layer).weight)
    assert changed >= 0.3 * len(surgery.block_linears(dense))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_strength_of_a_half_makes_inputs_and_weights_equally_large(kind: str) -> None:
    """max|x / s| = max|w · s| for every input, as sqrt(max|x| · max|w|) is both."""
    tiny = subject(kind)
    context = tiny.context(ALONE)
    fp32 = dataclasses.replace(context.hardware, features=frozenset())
    context = dataclasses.replace(context, hardware=fp32, calibration=tiny.examples)  # three batches
    result = ALONE.compress(tiny.dense.model(), context).model
    inputs = context.require_calibration().inputs
    groups = [["query", "key", "value"], ["intermediate.dense"]]
    if kind == "llama":
        groups = [["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj"]]
    names = [n.removesuffix(".layer") for n in surgery.block_linears(result)]
    for group in groups:
        own = [name for name in names if name.endswith(tuple(group))]
        inner = [f"{n}.layer" if isinstance(surgery.get(result, n), ScaledLinear) else n for n in own]
        found = given(result, inner, inputs)
        for start in range(0, len(own), len(group)):
            weights = torch.cat([surgery.get(result, name).weight for name in own[start : start + len(group)]])
            torch.testing.assert_close(found[inner[start]], weights.abs().amax(0), rtol=1e-4, atol=1e-6)


def test_padding_has_no_say(tiny_bert: Subject) -> None:
    def weights(tiny: Subject) -> dict[str, Tensor]:
        return ALONE.compress(tiny.dense.model(), tiny.context(ALONE)).model.state_dict()

    inputs = tiny_bert.examples.inputs
    other = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 5)
    examples = dataclasses.replace(tiny_bert.examples, inputs={**inputs, "input_ids": other})
    found = weights(dataclasses.replace(tiny_bert, examples=examples))
    for name, values in weights(tiny_bert).items():
        assert torch.equal(found[name], values), name


def test_what_is_always_zero_is_left_alone() -> None:
    weights = [torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[-2.0, 0.0, 1.0]])]
    scale = QuantizeSmooth(strength=0.25).scale(weights, torch.tensor([0.0, 3.0, 16.0]))
    assert scale.tolist() == pytest.approx([1, 1, 16**0.25 / 4**0.75])


def test_layers_that_are_given_the_same_share_one_factor_on_disk_too(tiny_bert: Subject, tmp_path: Path) -> None:
    made = build(list(ALONE.steps), tiny_bert.dense, tiny_bert.context(ALONE), tmp_path)
    scaled = [m for m in made.model().modules() if isinstance(m, ScaledLinear)]
    assert len(scaled) == 16 and len({m.factor.data_ptr() for m in scaled}) == 8


def outlying(tiny: Subject) -> nn.Module:
    """The tiny ViT with three of the numbers between norm and layers eighty times as large, its answers as they were
    but for rounding: its residual stream goes past the norms."""
    model = tiny.dense.model()
    with torch.no_grad():
        for norm in find(model, tiny.examples[:2].inputs, "logits").norms:
            if "layers" in norm.name:
                surgery.get(model, norm.name).weight[:3] *= 80
                surgery.get(model, norm.name).bias[:3] *= 80
                for reader in norm.readers:
                    surgery.get(model, reader).weight[:, :3] /= 80
    return model


def test_int8_loses_less_behind_it(tmp_path: Path) -> None:
    """With a few inputs far larger than the others, one scale for all of them leaves the others nothing. 7-bit weights:
    with 8, products may saturate on processors without VNNI."""
    tiny = subject("vit")
    dense = artifact.save(outlying(tiny), tmp_path / "dense", tiny.spec)
    inputs = {name: values.numpy() for name, values in tiny.examples.inputs.items()}
    wanted = torch.from_numpy(tiny.dense.load(threads=1)(inputs))

    def lost(*before: Compressor) -> float:
        steps = [*before, OnnxRuntimeFp32(), Int8OnnxRuntime(reduce_range=True)]
        context = dataclasses.replace(tiny.context(*steps), dense=dense.model)
        made = build(steps, dense, context, tmp_path / str(len(steps)))
        found = torch.from_numpy(made.load(threads=1)(inputs))
        return float((found - wanted).norm() / (wanted - wanted.mean(0)).norm())

    assert lost(ALONE) < 0.5 * lost()


def test_query_key_and_value_are_rounded_once(tiny_bert: Subject, tmp_path: Path) -> None:
    """The products in front of them are one in the graph, or each would cost a rounding of its own."""
    method = QuantizeSmooth()
    graph = build(list(method.steps), tiny_bert.dense, tiny_bert.context(*method.steps), tmp_path).model().graph
    inputs = {node.input[0] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    assert len(inputs) == 4 * 4 + 2  # four in each of four blocks, a pooler, a classifier


def test_data_that_says_nothing_is_told(tiny_bert: Subject) -> None:
    context: Context = tiny_bert.context(ALONE)
    with pytest.raises(PressbenchError, match=r"^quantize-smooth: no calibration examples"):
        ALONE.compress(tiny_bert.dense.model(), dataclasses.replace(context, calibration=tiny_bert.examples[:0]))
    model: Any = tiny_bert.dense.model()
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.weight[0] = torch.nan
    with pytest.raises(PressbenchError, match=r"^quantize-smooth: what \S+ is given by the calibration data is not"):
        ALONE.compress(model, context)


@pytest.mark.parametrize(
    "parameters,message",
    [
        ({"strength": -0.1}, "strength = -0.1: must lie between 0 and 1"),
        ({"strength": float("nan")}, "strength = nan"),
        ({"executor": "torch"}, "executor = 'torch': must be one of onnxruntime, openvino, none"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeSmooth(**parameters)
