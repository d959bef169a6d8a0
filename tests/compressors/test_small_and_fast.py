"""The headline recipe: another one for each kind of model and class of hardware, under one id."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest

from benchmarks.hardware import is_class
from benchmarks.matrix.cases import expand
from benchmarks.zoo import find_model
from compressors import registry
from compressors.interface import Hardware
from compressors.quantization.gguf import QuantizeGguf
from compressors.small_and_fast import BY_LLAMACPP, RECIPES, SmallAndFast, kind_of

AVX2 = Hardware("cpu", "cpu-avx2", frozenset({"avx2"}))
VNNI = Hardware("cpu-vnni", "cpu-vnni", frozenset({"avx2", "vnni"}))
CUDA = Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0")
MODELS = {"minilm-bbc": "reads words", "smollm2-bbc": "writes words", "vit-digits": "sees images"}


def test_every_recipe_is_of_methods_that_are_there_and_every_class_exists() -> None:
    for by_class in RECIPES.values():
        assert "" in by_class
        for name, chain in by_class.items():
            assert name == "" or is_class(name)
            assert len(SmallAndFast(chain=chain).steps) >= 2


@pytest.mark.parametrize(("name", "kind"), MODELS.items())
def test_it_runs_on_every_kind_of_model(name: str, kind: str) -> None:
    model = find_model(name)
    assert kind_of(model.spec()) == kind
    for hardware in (AVX2, VNNI):
        suited = registry.build("small-and-fast").suited(model.spec(), hardware)
        assert registry.unsupported_reason(suited, model.spec(), hardware) is None
        usual = RECIPES[kind].get(hardware.hardware_class, RECIPES[kind][""])
        by_llamacpp = kind == "writes words" and importlib.util.find_spec("llama_cpp")
        assert suited.parameters["chain"] == (BY_LLAMACPP if by_llamacpp else usual)


@pytest.mark.parametrize(
    ("installed", "model_type", "hardware", "wanted"),
    [
        (True, "llama", AVX2, BY_LLAMACPP),
        (False, "llama", AVX2, RECIPES["writes words"][""]),
        (True, "gpt2", AVX2, RECIPES["writes words"][""]),  # whose file we do not write
        (True, "llama", CUDA, RECIPES["writes words"][""]),
    ],
    ids=["installed", "not installed", "another architecture", "a GPU"],
)
def test_what_writes_words_runs_in_llamacpp_where_it_can(
    monkeypatch: pytest.MonkeyPatch, installed: bool, model_type: str, hardware: Hardware, wanted: object
) -> None:
    monkeypatch.setattr(QuantizeGguf, "requires", {"json" if installed else "no_such_module": "llama-cpp-python"})
    head = {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}[model_type]
    spec = dataclasses.replace(
        find_model("smollm2-bbc").spec(),
        config={**find_model("smollm2-bbc").spec().config, "model_type": model_type, "architectures": [head]},
    )
    assert SmallAndFast().suited(spec, hardware).parameters["chain"] == wanted


def test_what_reads_words_or_sees_never_runs_in_llamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuantizeGguf, "requires", {})
    for name in ("minilm-bbc", "vit-digits"):
        assert SmallAndFast().suited(find_model(name).spec(), AVX2).parameters["chain"] != BY_LLAMACPP


def test_int8_is_where_it_is_fast() -> None:
    model = find_model("minilm-bbc").spec()
    last = {h.hardware_class: SmallAndFast().suited(model, h).steps[-1].makes for h in (AVX2, VNNI)}
    assert last == {"cpu-avx2": "onnxruntime", "cpu-vnni": "openvino"}


def test_a_case_has_the_chain_of_its_hardware_and_one_id() -> None:
    cases = expand("speed", {"small-and-fast": SmallAndFast()}, [find_model("minilm-bbc")], [AVX2, VNNI], {}, "quick")
    assert len({case.compressor_id for case in cases}) == 1
    assert cases[0].compressor.parameters != cases[1].compressor.parameters


def test_what_somebody_says_stays() -> None:
    own = SmallAndFast(chain=(("prune-layers", ()), ("int8-onnxruntime", ())))
    assert own.suited(find_model("minilm-bbc").spec(), AVX2) is own
