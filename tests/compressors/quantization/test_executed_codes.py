"""The codes of a rounding on the kernels of ATen and OpenVINO: the very codes, the values that they stand for, and what
does not fit told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import Subject, make
from torch import Tensor, nn

from compressors import artifact, conformance, registry, surgery
from compressors.artifact import Artifact
from compressors.build import build
from compressors.interface import Context, PressbenchError, Unsupported
from compressors.quantization import codes_openvino
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.kernels import Int4Linear, KernelLinear, WeightOnly, kernel_for
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import Layout, PackedEmbedding, PackedLinear, PackedWeight, pack_layers
from compressors.runtimes.export import to_openvino
from compressors.runtimes.openvino import OpenvinoRuntime

ROWS, COLUMNS = 48, 192
NEAREST = ("quantize-weights", {"bits": 4, "symmetric": False})
ATEN = ("weight-only", {"bits": None})
OPENVINO = ("weight-only-openvino", {"bits": None, "activations": 16, "float_precision": "fp32"})


def packed(
    bits: int, group_size: int, *, zeros: bool = True, rows: int = ROWS, columns: int = COLUMNS, **more: Any
) -> tuple[PackedWeight, Tensor]:
    """Made-up codes, every one of them, and the values that they stand for by the definition, float64."""
    coin = torch.Generator().manual_seed(bits + group_size)
    groups = -(-columns // group_size)
    codes = torch.randint(0, 2**bits, (rows, columns), generator=coin).to(torch.uint8)
    scale = (torch.rand(rows, groups, generator=coin) + 0.1).to(more.pop("dtype", torch.float16))
    zero = torch.randint(0, 2**bits, (rows, groups), generator=coin).to(torch.uint8) if zeros else None
    weight = PackedWeight.from_codes(codes, scale, bits=bits, group_size=group_size, zero=zero, **more)
    group = np.arange(columns) // group_size
    middle = 2.0 ** (bits - 1) if zero is None else zero.double()[:, group]
    return weight, (codes.double() - middle) * scale.double()[:, group]


def halves(codes: Tensor) -> Tensor:
    """Two codes of 4 bits a byte, the first in the lower half."""
    return torch.stack([codes & 15, codes >> 4], -1).flatten(1)


# -- ATen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(
    ("group_size", "span"), [(32, 32), (64, 64), (128, 64), (192, 64), (256, 64), (96, 32)]
)  # 128 leaves a narrower last group in 192 columns; the kernel has two or more groups with the same scale
def test_4_bits_are_the_same_codes_and_values_within_a_16th_of_a_step(
    group_size: int, span: int, zeros: bool, dtype: torch.dtype
) -> None:
    weight, wanted = packed(4, group_size, zeros=zeros, dtype=dtype)
    kernel = kernel_for(PackedLinear(weight, None))
    assert isinstance(kernel, Int4Linear) and kernel.group_size == span
    kernel.take(weight)
    assert torch.equal(halves(kernel.codes), halves(weight.codes))
    step = weight.scale.double()[:, np.arange(COLUMNS) // group_size]
    moved = ((kernel.dequantize() - wanted).abs() / step).max()
    assert moved <= (1 / 16 if zeros else 1 / 32)


@pytest.mark.parametrize("per_row", [True, False])
def test_8_bits_are_the_same_codes_and_values_within_2_to_the_minus_8(per_row: bool) -> None:
    weight, wanted = packed(8, COLUMNS, zeros=False)
    if not per_row:  # one scale for all
        weight = PackedWeight.from_codes(weight.unpacked(), weight.scale[:1], bits=8, group_size=COLUMNS)
        wanted = (weight.codes.double() - 128) * weight.scale.double()
    kernel = kernel_for(PackedLinear(weight, None))
    assert isinstance(kernel, KernelLinear) and kernel.bits == 8
    kernel.take(weight)
    assert torch.equal(kernel.weight.int() + 128, weight.codes.int())
    assert bool(((kernel.dequantize() - wanted).abs() <= wanted.abs() * 2.0**-8).all())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_the_kernel_answers_as_the_packed_layer_over_its_column_scale(bits: int, bias: bool) -> None:
    column_scale = torch.logspace(-1, 1, COLUMNS)
    weight, values = packed(bits, 64 if bits == 4 else COLUMNS, zeros=bits == 4, column_scale=column_scale)
    own = nn.Parameter(torch.randn(ROWS).mul(100).bfloat16(), requires_grad=False) if bias else None
    kernel = kernel_for(PackedLinear(weight, own))
    assert isinstance(kernel, KernelLinear)
    kernel.take(weight)
    given = torch.randn(5, COLUMNS, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = nn.functional.linear(given.double(), values / column_scale.double(), None if own is None else own.double())
    for _ in range(2):  # from decoded weights, then by the kernel
        with torch.inference_mode():
            found = kernel(given).double()
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.02
        kernel.place()
        kernel.release()
    assert kernel(given).dtype == torch.bfloat16
    if bits == 4:
        assert kernel.codes.untyped_storage().nbytes() == 0


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (packed(3, 64), "3 bits"),
        (packed(4, 48), "4 bits in groups of 48"),
        (packed(4, 64, rows=40), "40 x 192, where both must be multiples of 16"),
        (packed(4, 64, levels=torch.arange(16.0)), "codes of a table of values"),
        (packed(8, 64, zeros=False), "8 bits in groups of 64"),
        (packed(8, COLUMNS), "8 bits with zero points"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_kernel_takes_is_told(weight: tuple[PackedWeight, Tensor], told: str) -> None:
    assert kernel_for(PackedLinear(weight[0], None)) == told


def test_a_scale_for_a_part_of_a_group_or_of_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale for every 64 columns"):
        packed(4, 96)[0].scales_and_zeros(64)
    with pytest.raises(ValueError, match="no scale for every 64 columns"):
        packed(4, 64, levels=torch.arange(16.0))[0].scales_and_zeros()


def test_a_packed_layer_in_a_bf16_model_keeps_its_scales_and_answers_in_bf16() -> None:
    weight, _ = packed(4, 64, column_scale=torch.linspace(1, 2, COLUMNS))
    model = nn.ModuleDict(
        {"table": PackedEmbedding(weight), "linear": PackedLinear(weight, nn.Parameter(torch.ones(ROWS)))}
    )
    before = weight.dequantize()
    surgery.cast(model, torch.bfloat16)
    assert torch.equal(weight.dequantize(), before) and weight.scale.dtype == torch.float16
    for ids in (torch.tensor([3]), torch.arange(ROWS)):
        assert torch.equal(model["table"](ids), before[ids].bfloat16())
    assert model["linear"](torch.ones(2, COLUMNS).bfloat16()).dtype == model["linear"].weight.dtype == torch.bfloat16


# -- OpenVINO --------------------------------------------------------------------------------------


def literal(source: Any) -> np.ndarray:
    """What operators make of constants, in float64, by their definitions."""
    node = source.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        values = np.asarray(node.get_data())
        if node.get_element_type().get_type_name() == "u4":
            values = np.stack([values & 15, values >> 4], -1).reshape(-1)[: np.prod(list(node.get_output_shape(0)))]
        return values.reshape(list(node.get_output_shape(0))).astype(np.float64)
    first, *others = (literal(node.input_value(i)) for i in range(node.get_input_size()))
    if kind == "Reshape":
        return first.reshape(others[0].astype(int))
    return first if kind == "Convert" else {"Subtract": np.subtract, "Multiply": np.multiply}[kind](first, *others)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [64, COLUMNS, 128])
@pytest.mark.parametrize("zeros", [True, False])
def test_the_graph_decodes_to_the_very_values_and_multiplies_with_the_stored_codes(
    bits: int, group_size: int, zeros: bool
) -> None:
    import openvino
    from openvino import opset13 as opset

    weight, wanted = packed(bits, group_size, zeros=zeros)
    source = codes_openvino.decoding(weight, "codes")
    assert np.array_equal(literal(source.output(0)), wanted.numpy())
    given = opset.parameter([-1, COLUMNS], openvino.Type.f32)
    product = opset.matmul(given, source, False, True)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "INFERENCE_NUM_THREADS": 1}
    model = openvino.Model([opset.result(product)], [given])
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    values = np.random.default_rng(0).standard_normal((3, COLUMNS)).astype(np.float32)
    assert compiled([values])[0] == pytest.approx(values.astype(np.float64) @ wanted.numpy().T, rel=1e-4, abs=2e-3)
    held = [node for node in compiled.get_runtime_model().get_ops() if kind(node) == "Const"]
    fixed = [node for node in held if node.get_output_partial_shape(0).is_static]
    assert {
        node.get_output_element_type(0).get_type_name()
        for node in fixed
        if np.prod(list(node.get_output_shape(0))) == ROWS * COLUMNS
    } == {f"u{bits}"}


def kind(node: Any) -> str:
    """Of an operator as the plugin runs it."""
    about = node.get_rt_info()
    return str(about["layerType"].astype(str)) if "layerType" in about else ""


# -- models ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A head of its own and no bias; a tied head, biases and Conv1D."""
    torch.set_num_threads(1)
    return make(request.param, tmp_path_factory.mktemp(request.param))


def chained(subject: Any, *chain: tuple[str, dict[str, Any]]) -> Artifact:
    steps = registry.build("pipeline", {"chain": tuple((name, tuple(given.items())) for name, given in chain)}).steps
    return subject.artifact(steps)


def answers(subject: Any, made: Artifact) -> np.ndarray:
    return made.load(threads=1)({name: values.numpy() for name, values in subject.examples.inputs.items()})


def stored(made: Artifact) -> dict[str, np.ndarray]:
    """The tensors of bytes in a safetensors file, read without the library; aliases as well."""
    raw = (made.directory / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    found = {}
    for name, about in header.items():
        if about.get("dtype") == "U8":
            start, stop = (8 + size + offset for offset in about["data_offsets"])
            found[name] = np.frombuffer(raw[start:stop], np.uint8).reshape(about["shape"])
    for alias, name in made.manifest["payload"]["shared"].items():
        if name in found:
            found[alias] = found[name]
    return found


def test_aten_answers_as_the_packed_model_with_the_codes_that_lie_in_its_file(tiny: Subject) -> None:
    rounded, made = chained(tiny, NEAREST), chained(tiny, NEAREST, ATEN)
    before, after = stored(rounded), stored(made)
    layers = made.recipe[-1]["structure"]["layers"]
    assert set(layers) == {n for n, m in rounded.model().named_modules() if isinstance(m, PackedLinear)}
    assert "lm_head" in layers and len(layers) > 12
    for name in layers:
        assert np.array_equal(before[f"{name}.weight.codes"], after[f"{name}.codes"]), name
    dense, wanted, found = answers(tiny, tiny.dense), answers(tiny, rounded), answers(tiny, made)
    loss, moved = np.abs(wanted - dense).max(), np.abs(found - wanted).max()
    assert moved < 0.03 * np.abs(wanted).max() and loss > 3 * moved
    few = {name: values[:4].numpy() for name, values in tiny.examples.inputs.items()}
    executed = made.executed(few)
    assert executed is not None and executed.narrower(16) > 0.8
    # The table of a tied head lies there once; of two matrices both are packed.
    assert made.disk_bytes < 1.15 * rounded.disk_bytes


def test_openvino_answers_as_the_packed_model_with_the_codes_that_lie_in_its_file(tiny: Subject) -> None:
    rounded, made = chained(tiny, NEAREST), chained(tiny, NEAREST, OPENVINO)
    graph = OpenvinoRuntime().read(made.directory, made.manifest)
    held = {n.get_data().tobytes() for n in graph.get_ops() if n.get_type_name() == "Constant"}
    codes = {name: values for name, values in stored(rounded).items() if name.endswith("weight.codes")}
    assert len(codes) > 12 and all(values.tobytes() in held for values in codes.values())
    wanted, found = answers(tiny, rounded), answers(tiny, made)
    assert found == pytest.approx(wanted, abs=1e-4)
    numbers = made.inventory().dtypes
    assert set(numbers) <= {"u4", "f32"} and numbers["u4"] == rounded.inventory().dtypes["uint4"]
    assert numbers.get("f32", 0) < rounded.inventory().dtypes["float32"] + 500
    assert (made.directory / "model.bin").stat().st_size < 1.1 * rounded.disk_bytes
    ids = tiny.examples.inputs["input_ids"][:1, :6].numpy()
    generator = made.generator(threads=1)
    first = generator.prefill(ids)
    whole = made.load(threads=1)({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert first == whole[:, -1].argmax(-1)


def executed(subject: Subject, source: Artifact, method: tuple[str, dict[str, Any]], folder: Path) -> Artifact:
    step = registry.build(*method)
    context = Context(model=subject.spec, hardware=conformance.HARDWARE, dense=subject.dense.model)
    return build([step], source, context, folder / step.name)


def test_a_column_scale_is_honoured_by_both(tiny: Subject, tmp_path: Path) -> None:
    rounded = chained(tiny, NEAREST)
    model, recipe = rounded.model(), json.loads(json.dumps(rounded.recipe))
    structure = recipe[-1]["structure"]
    for name, layout in structure["layers"].items():
        weight = surgery.get(model, name).packed
        scaled = PackedWeight(Layout(**layout | {"column_scale": True}), weight.rows, weight.columns)
        scaled.load_state_dict({**weight.state_dict(), "column_scale": torch.linspace(0.5, 2, weight.columns)})
        surgery.get(model, name)._modules["weight"] = scaled
        layout["column_scale"] = True
    for alias, owner in structure["shared"].items():
        surgery.get(model, alias)._modules["weight"] = surgery.get(model, owner).packed
    source = artifact.save(model, tmp_path / "scaled", tiny.spec, recipe=recipe)
    wanted = answers(tiny, source)
    size = np.abs(wanted).max()
    assert np.abs(answers(tiny, rounded) - wanted).max() > 0.3 * size
    assert np.abs(answers(tiny, executed(tiny, source, ATEN, tmp_path)) - wanted).max() < 0.03 * size
    assert np.abs(answers(tiny, executed(tiny, source, OPENVINO, tmp_path)) - wanted).max() < 1e-4 * size


# -- what does not fit -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    torch.set_num_threads(1)
    return make("llama", tmp_path_factory.mktemp("llama-alone"))


@pytest.mark.parametrize(
    ("rounding", "method", "told"),
    [
        (None, ATEN, "no linear layer is packed: a method that rounds must be before it, as in quantize-gptq"),
        (None, OPENVINO, "no linear layer is packed: a method that rounds must be before it"),
        ({"bits": 3}, ATEN, r"no kernel takes these codes \(3 bits\): 4 bits in groups of a multiple of 32"),
        ({"bits": 3}, OPENVINO, r"no kernel takes these codes \(3 bits\): 4 or 8 bits with evenly spaced values fit"),
    ],
)
def test_a_model_without_codes_that_fit_is_unsupported(
    rounding: dict[str, Any] | None, method: tuple[str, dict[str, Any]], told: str, llama: Subject
) -> None:
    chain = [] if rounding is None else [("quantize-weights", rounding)]
    with pytest.raises(Unsupported, match=told) as caught:
        chained(llama, *chain, method)
    assert "\n" not in str(caught.value)


def test_a_model_with_nothing_but_codes_has_nothing_to_round(llama: Subject) -> None:
    model = llama.dense.model()
    layers = [*surgery.block_linears(model), "lm_head"]
    pack_layers(model, layers, lambda _, weight: nearest(LinearGrid(4, 64), weight))
    context = Context(model=llama.spec, hardware=conformance.HARDWARE, dense=llama.dense.model)
    with pytest.raises(Unsupported, match="no layer is left to round to 8 bits; bits=null takes the codes of packed"):
        WeightOnly(bits=8).compress(model, context)
    made = WeightOnly(bits=None).compress(model, context)
    assert list(made.structure["layers"]) == layers
    again = WeightOnly(bits=8).compress(made.model, context)  # after a chain has taken them it is no fault
    assert not again.structure["layers"]


def test_layers_that_do_not_fit_stay_as_they_are_and_are_told(llama: Subject) -> None:
    rounding = ("quantize-weights", {"bits": 4, "head_bits": 3, "embedding_bits": 3})
    rounded, made = chained(llama, rounding), chained(llama, rounding, ATEN)
    assert made.recipe[-1]["structure"]["left"] == {"lm_head": "3 bits"}
    wanted = answers(llama, rounded)
    assert np.abs(answers(llama, made) - wanted).max() < 0.03 * np.abs(wanted).max()
    assert made.inventory().dtypes["uint3"] == rounded.inventory().dtypes["uint3"]


def test_tables_that_do_not_fit_are_decoded_in_the_graph_and_are_told() -> None:
    bert = conformance.subject("bert")
    steps = [registry.build("quantize-weights", {"embedding_bits": 3}), registry.build(*OPENVINO)]
    rounded, made = (conformance._made(tuple(steps[:count]), "bert") for count in (1, 2))
    left = made.recipe[-1]["structure"]["left"]
    assert len(left) == 3 and set(left.values()) == {"3 bits"} and all("embeddings" in name for name in left)
    assert answers(bert, made) == pytest.approx(answers(bert, rounded), abs=1e-4)


def test_a_layer_that_the_graph_holds_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an exporter would that folds a number into a weight."""

    def folding(model: nn.Module, spec: Any) -> Any:
        with torch.no_grad():
            model.bert.encoder.layer[1].output.dense.weight.mul_(2)
        return to_openvino(model, spec)

    rounded = conformance._made((registry.build("quantize-weights", {}),), "bert")
    monkeypatch.setattr(codes_openvino, "to_openvino", folding)
    with pytest.raises(PressbenchError, match=r"bert.encoder.layer.1.output.dense: the exported graph does not hold"):
        codes_openvino.with_codes(rounded.model(), rounded.spec)


def test_the_output_layer_may_be_rounded_after_the_codes_are_taken(llama: Subject) -> None:
    blocks = ("quantize-weights", {"bits": 4, "symmetric": False, "head_bits": 0, "embedding_bits": 0})
    taken, both = chained(llama, blocks, ATEN), chained(llama, blocks, ATEN, ("weight-only", {"bits": 8}))
    assert "int8" not in taken.inventory().dtypes and both.inventory().dtypes["int8"] >= 320 * 64
    assert both.recipe[-1]["structure"]["layers"]["lm_head"]["bits"] == 8
    assert stored(taken).keys() == stored(both).keys()
    assert all(np.array_equal(values, stored(both)[name]) for name, values in stored(taken).items())


@pytest.mark.parametrize("name", ["gptq-aten", "gptq-openvino", "gptq-onnxruntime"])
def test_the_named_chains_are_for_language_models(name: str) -> None:
    chain, specs = registry.variants("nightly")[f"{name}-4bit"], conformance.TINY_SPECS
    assert registry.unsupported_reason(chain, specs["llama"], conformance.HARDWARE) is None
    for kind in ("bert", "vit"):
        told = chain.supports(specs[kind], conformance.HARDWARE)
        assert told and "decodes no text word by word" in told
        assert registry.unsupported_reason(chain, specs[kind], conformance.HARDWARE)
