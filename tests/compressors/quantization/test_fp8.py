"""fp8 on whole tiny models, on a CPU: what reaches the disk, what comes back, and what is refused. Not run on a GPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import make
from torch import Tensor, nn

from compressors import conformance, registry, surgery
from compressors.artifact import Artifact
from compressors.build import build_step, run_step
from compressors.conformance import HARDWARE
from compressors.interface import Hardware, ModelSpec, PressbenchError
from compressors.quantization.fp8 import Fp8
from compressors.quantization.fp8_kernels import Fp8Linear
from compressors.runtimes.base import runtime
from compressors.runtimes.torch import read_state, write_state
from compressors.tiny_specs import TINY_SPECS

GPU = Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0")
BOTH = pytest.mark.parametrize("method", [Fp8(granularity="row"), Fp8(granularity="tensor")], ids=["row", "tensor"])
VALUES = np.array(
    [(-1) ** (c >> 7) * ((c & 7) / 512 if not c >> 3 & 15 else (8 + (c & 7)) * 2.0 ** ((c >> 3 & 15) - 10))
     for c in range(256)]
)  # fmt: skip
"""What each byte of e4m3 stands for, but for 127 and 255, which are NaN."""


def made_of(method: Fp8, kind: str) -> Artifact:
    """Its artifact of a tiny model, made once."""
    return conformance._made((method,), kind)


def stored(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> (type, values or bytes of fp8) of a safetensors file, read by its specification."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    found = {}
    for name, about in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            kind = {"F8_E4M3": np.uint8, "F32": np.float32, "BF16": np.uint16}[about["dtype"]]
            values = np.frombuffer(raw[8 + size :][start:end], dtype=kind).reshape(about["shape"])
            if about["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            found[name] = about["dtype"], values
    return found


@BOTH
@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_codes_times_scales_of_the_file_are_the_dense_weights(method: Fp8, kind: str) -> None:
    tiny, made = conformance.subject(kind), made_of(method, kind)
    file, dense = stored(made.directory / "model.safetensors"), stored(tiny.dense.directory / "model.safetensors")
    layers = [name.removesuffix(".codes") for name in file if name.endswith(".codes")]
    assert len(layers) == 6 * tiny.spec.config["num_hidden_layers"]
    for name in layers:
        (codes_type, codes), (scale_type, scale) = file[f"{name}.codes"], file[f"{name}.scale"]
        wanted = dense[f"{name}.weight"][1].astype(np.float64)
        assert (codes_type, scale_type) == ("F8_E4M3", "F32")
        assert scale.shape == ((len(wanted),) if method.granularity == "row" else ()), name
        spread = scale.astype(np.float64).reshape(-1, 1)
        most = np.abs(wanted).max(1, keepdims=True) if method.granularity == "row" else np.abs(wanted).max()
        assert np.allclose(spread * 448, most, rtol=1e-6)
        away = np.abs(VALUES[codes] * spread - wanted)
        assert (away <= np.maximum(np.abs(wanted) / 16, spread * 2.0**-10) * (1 + 1e-5)).all(), name
    assert {kind for name, (kind, _) in file.items() if not name.endswith((".codes", ".scale"))} == {"BF16"}
    inventory = made.inventory()
    assert inventory.parameters == tiny.dense.inventory().parameters
    assert set(inventory.dtypes) == {"float8_e4m3fn", "bfloat16"} and inventory.operators["Fp8Linear"] == len(layers)
    assert inventory.claimed_bytes is not None and inventory.claimed_bytes < made.disk_bytes


@BOTH
@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_it_is_loaded_as_it_was_made_and_near_the_dense_one(method: Fp8, kind: str) -> None:
    tiny, made = conformance.subject(kind), made_of(method, kind)
    inputs = {name: np.ascontiguousarray(values[16:].numpy()) for name, values in tiny.examples.inputs.items()}
    found, wanted = made.load(threads=1)(inputs), tiny.dense.load(threads=1)(inputs)
    result, _ = run_step(method, tiny.dense, tiny.context(method))
    before = runtime(result.runtime).attach(result.model, result.options, device="cpu", threads=1)(inputs)
    assert np.array_equal(before, found)
    loaded = made.model()
    assert runtime("torch").attach(loaded, {}, device="cpu", threads=1)(inputs) == pytest.approx(found, abs=0)
    real = inputs["attention_mask"].astype(bool) if kind == "llama" else ...
    away = np.sqrt(np.square(found - wanted)[real].mean() / wanted[real].var())
    assert 1e-3 < away < 0.2, away
    executed, dense = made.executed(inputs), tiny.dense.executed(inputs)
    assert executed is not None and dense is not None
    assert executed.total == dense.total  # nothing here is padded
    of_blocks = 0.6 if kind == "llama" else 0.8  # its head is a third of it
    assert executed.operations["float8"] > of_blocks * executed.total
    assert executed.weight_bytes < 0.4 * dense.weight_bytes


@BOTH
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_all_else_is_as_precise_as_it_is_told(method: Fp8, precision: Any) -> None:
    method = dataclasses.replace(method, precision=precision)
    made, dtype = made_of(method, "bert"), torch.bfloat16 if precision == "bf16" else torch.float32
    model = made.model()
    assert {p.dtype for p in model.parameters()} == {dtype}
    given: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, Fp8Linear):
            assert module.scale.dtype == torch.float32 and module.codes.dtype == torch.float8_e4m3fn
            module.register_forward_hook(lambda _m, values, found: given.update((values[0].dtype, found.dtype)))
    inputs = {name: values[:4].numpy() for name, values in conformance.subject("bert").examples.inputs.items()}
    runtime("torch").attach(model, {}, device="cpu", threads=1)(inputs)
    assert given == {dtype}


def test_head_and_tables_are_covered_where_asked_for() -> None:
    tiny = conformance.subject("llama")  # its head is its table
    for head, embeddings in ((False, True), (True, True), (True, False)):
        method = Fp8(head=head, embeddings=embeddings)
        made = method.compress(tiny.dense.model(), tiny.context(method)).structure
        assert ("lm_head" in made["layers"], made["tables"]["layers"]) == (head, {})
    bert = conformance.subject("bert")
    for head, embeddings in ((True, True), (False, False)):
        method = Fp8(head=head, embeddings=embeddings)
        made = method.compress(bert.dense.model(), bert.context(method)).structure
        assert ("classifier" in made["layers"], bool(made["tables"]["layers"])) == (head, embeddings)


def test_a_head_of_three_classes_and_tables_come_back() -> None:
    method = Fp8(head=True, embeddings=True)
    made = made_of(method, "bert")
    assert made.recipe[-1]["told"] == {"padded": ["classifier"]}
    inputs = {name: values.numpy() for name, values in conformance.subject("bert").examples.inputs.items()}
    tiny = conformance.subject("bert")
    result, _ = run_step(method, tiny.dense, tiny.context(method))
    before = runtime("torch").attach(result.model, {}, device="cpu", threads=1)(inputs)
    assert np.array_equal(before, made.load(threads=1)(inputs)) and before.shape == (48, 3)


@pytest.mark.parametrize("name", ["bert-odd", "gpt2", "t5", "albert"])
def test_architectures_that_are_built_otherwise(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    method = Fp8()
    artifact = made.artifact((method,))
    inputs = {name: np.ascontiguousarray(values.numpy()) for name, values in made.examples.inputs.items()}
    found, wanted = artifact.load(threads=1)(inputs), made.dense.load(threads=1)(inputs)
    assert found.shape == wanted.shape and np.isfinite(found).all()
    # This T5 makes much of little: its correlation is 0.97 with int8-dynamic-torch, 0.72 with weights of 4 bits.
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > (0.8 if name == "t5" else 0.95)
    padded = artifact.recipe[-1].get("told", {}).get("padded", [])
    assert len(padded) == (18 if name == "bert-odd" else 0)  # 76 and 150 wide
    model = artifact.model()
    kinds: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, Fp8Linear):
            module.register_forward_hook(lambda _m, values, answer: kinds.update((values[0].dtype, answer.dtype)))
    runtime("torch").attach(model, {}, device="cpu", threads=1)(inputs)
    assert kinds == {torch.bfloat16}  # T5 casts what its last layer is given to the type of the weight there


def test_layers_that_share_weights_share_codes(tmp_path: Path) -> None:
    tiny, method = conformance.subject("bert"), Fp8()
    shared = conformance._made((registry.build("share-layers", {"recovery_epochs": 0.0}),), "bert")
    made = build_step(method, shared, tiny.context(method), tmp_path)
    names = [name for name in stored(made.directory / "model.safetensors") if name.endswith(".codes")]
    assert len(names) == 6 * 2  # of four layers two
    inputs = {name: values.numpy() for name, values in tiny.examples.inputs.items()}
    assert np.corrcoef(made.load()(inputs).ravel(), shared.load()(inputs).ravel())[0, 1] > 0.99


def test_zeros_of_pruned_weights_stay_and_are_stored_as_such(tmp_path: Path) -> None:
    tiny, method = conformance.subject("bert"), Fp8()
    pruned = conformance._made((registry.build("prune-magnitude", {"sparsity": 0.8, "recovery_epochs": 0.0}),), "bert")
    made = build_step(method, pruned, tiny.context(method), tmp_path)
    assert made.disk_bytes < 0.8 * made_of(method, "bert").disk_bytes
    model, before = made.model(), pruned.model()
    for name, module in model.named_modules():
        if isinstance(module, Fp8Linear):
            zeros = surgery.get(before, name).weight == 0
            assert float(zeros.float().mean()) > 0.5 and not module.dequantize()[zeros].any()


@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
def test_a_tensor_of_fp8_is_read_as_it_was_written(zeros: float, tmp_path: Path) -> None:
    coin = torch.Generator().manual_seed(0)
    values = torch.randn(64, 65, generator=coin) * (torch.rand(64, 65, generator=coin) >= zeros)
    state = {"codes": values.to(torch.float8_e4m3fn)}
    payload = write_state(state, tmp_path / "model.safetensors")
    assert bool(payload["sparse"]) == (zeros > 0)
    read = read_state(tmp_path / "model.safetensors", payload)["codes"]
    assert read.dtype == torch.float8_e4m3fn and torch.equal(read.float(), state["codes"].float())


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["tensor", "row"])
def test_where_it_runs(granularity: Any) -> None:
    method = Fp8(granularity=granularity)
    for capability in ("89", "90", "100", "120"):
        gpu = Hardware("cuda0", f"cuda-sm{capability}", device="cuda:0")
        assert all(method.supports(spec, gpu) is None for spec in TINY_SPECS.values())
    for capability in ("70", "80", "86"):
        gpu = Hardware("cuda0", f"cuda-sm{capability}", device="cuda:0")
        assert method.supports(TINY_SPECS["bert"], gpu) == (
            f"its products need compute capability 8.9 or more, cuda0 is cuda-sm{capability}"
        )
    for hardware in (HARDWARE, Hardware("cpu", "cpu-amx", frozenset({"amx", "bf16"}))):
        reason = registry.unsupported_reason(method, TINY_SPECS["bert"], hardware)
        assert reason == "fp8: its products run on NVIDIA GPUs of compute capability 8.9 or more, not on cpu"


def test_a_model_without_transformer_layers_is_named() -> None:
    odd = ModelSpec("no-transformer", {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}, {})
    assert "no list of Transformer layers" in (Fp8().supports(odd, GPU) or "")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"granularity": "block"}, "granularity"),
        ({"precision": "fp16"}, "precision"),
        ({"head": "yes"}, "head is"),
        ({"bits": 8}, "no parameter 'bits'"),
    ],
)
def test_parameters_that_are_none(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError, match=told) as error:
        registry.build("fp8", parameters)
    assert "\n" not in str(error.value)
    if set(parameters) <= {"granularity", "precision"}:
        with pytest.raises(ValueError, match=f"{told} = .*: must be "):
            Fp8(**parameters)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(method: Fp8, value: float) -> None:
    tiny = conformance.subject("bert")
    model = tiny.dense.model()
    with torch.no_grad():
        surgery.get(model, "bert.encoder.layer.1.output.dense").weight[3, 4] = value
    with pytest.raises(PressbenchError, match=r"^bert.encoder.layer.1.output.dense: a weight is not finite"):
        method.compress(model, tiny.context(method))


def test_a_model_that_is_quantized_already() -> None:
    tiny, method = conformance.subject("bert"), Fp8()
    once = method.compress(tiny.dense.model(), tiny.context(method)).model
    with pytest.raises(PressbenchError, match="the step before it left no linear layers to quantize"):
        method.compress(once, tiny.context(method))


def test_what_is_rounded_to_fp8_is_near_what_it_was() -> None:
    """Layer by layer: the loaded layer's product of what the dense one is given, against the dense layer's."""
    tiny, made = conformance.subject("bert"), made_of(Fp8(precision="fp32"), "bert")
    dense, model = tiny.dense.model(), made.model()
    given: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in dense.named_modules():
        if isinstance(module, nn.Linear) and ".layer." in name:
            module.register_forward_hook(
                lambda _m, values, found, name=name: given.__setitem__(name, (values[0], found))
            )
    with torch.inference_mode():
        dense(**tiny.examples.inputs)
        for name, (values, wanted) in given.items():
            layer = surgery.get(model, name)
            assert isinstance(layer, Fp8Linear)
            layer.place()
            away = (layer(values) - wanted).double().square().mean().sqrt() / wanted.double().std()
            assert float(away) < 0.06, name
    assert len(given) == 24
