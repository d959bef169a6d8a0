"""llama.cpp runs what transformers runs, and what the suite writes for it is the same model."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_architectures import spec_of

sys.path.append(str(Path(__file__).parent / "given"))
from test_gguf import CPU, FILES, SPEC
from test_gguf import model as of_the_file

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.run.lanes import no_generator
from benchmarks.zoo import find_model
from benchmarks.zoo.workload import decode
from compressors import artifact, registry
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.given import Given
from compressors.interface import Context, ModelSpec, PressbenchError, Unsupported
from compressors.runtimes import gguf_writing
from compressors.runtimes.gguf_writing import Written
from compressors.skeleton import skeleton

LLAMACPP = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="pip install llama-cpp-python")
KINDS = ("llama", "mistral", "qwen3")


def model_of(kind: str) -> tuple[Any, ModelSpec]:
    """Random weights, far from nought, so that a turn of the wrong pairs shows."""
    spec = spec_of(kind)
    if kind == "mistral":
        spec = replace(spec, config={**spec.config, "sliding_window": None})
    torch.manual_seed(0)
    model = skeleton(spec.config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2 if weight.ndim > 1 else 1 + 0.1 * torch.randn_like(weight))
    return model, spec


def inputs(spec: ModelSpec, left: bool = False) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(5, spec.config["vocab_size"], (3, 12))
    there = np.ones_like(ids)
    for row, length in enumerate((12, 7, 1)):
        gone = slice(None, 12 - length) if left else slice(length, None)
        ids[row, gone], there[row, gone] = 0, 0
    return {"input_ids": ids, "attention_mask": there}


def close(found: np.ndarray, wanted: np.ndarray, there: np.ndarray, share: float) -> None:
    """To within a share of how far apart the logits lie: keys and values are in fp16."""
    off = (found - wanted)[there.astype(bool)]
    assert np.abs(off).max() < share * wanted[there.astype(bool)].std(), np.abs(off).max()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_file_as_the_same_model(tmp_path: Path, kind: str) -> None:
    """By a reader that shares no code with what writes it."""
    model, spec = model_of(kind)
    Written.of(model, spec, "f32").write(tmp_path / "m.gguf")
    more = {"config": model.config} if kind == "qwen3" else {}  # of which the reader takes heads of 128
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.float32, **more
    ).eval()
    ids = torch.from_numpy(inputs(spec)["input_ids"][:1])
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_projection_in_the_order_of_transformers_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = model_of("llama")
    monkeypatch.setattr(gguf_writing, "_by_neighbours", lambda rows, heads: rows)
    Written.of(model, spec, "f32").write(tmp_path / "m.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).eval()
    ids = torch.from_numpy(inputs(spec)["input_ids"][:1])
    with torch.inference_mode():
        assert (theirs(ids).logits - model(ids).logits).abs().max() > 0.1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, r"its rotary positions are scaled \(yarn\)"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "LlamaForSequenceClassification is not written",
        ),
        ({"model_type": "gpt2"}, "causal language models of llama, mistral, qwen2, qwen3 are"),
        ({"model_type": "mistral", "sliding_window": 8}, "its attention sees 8 tokens back of 64"),
    ],
)
def test_what_cannot_be_written_is_told(change: dict[str, Any], told: str) -> None:
    model, spec = model_of("llama")
    with pytest.raises(Unsupported, match=told):
        Written.of(model, replace(spec, config={**spec.config, "max_position_embeddings": 64, **change}), "f32")


def saved(kind: str, folder: Path, type: str = "f32") -> tuple[Artifact, Artifact]:
    """The model as torch has it, and as llama.cpp does."""
    model, spec = model_of(kind)
    dense = artifact.save(model, folder / "dense", spec)
    written = Written.of(model, spec, type)
    return dense, artifact.save(written, folder / "made", spec, runtime_name="llamacpp")


@LLAMACPP
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_several_lengths_are_answered_as_torch_does(tmp_path: Path, kind: str, left: bool) -> None:
    dense, made = saved(kind, tmp_path)
    asked = inputs(dense.spec)
    wanted = dense.load()(asked)
    if left:  # where torch's answers depend on the places that are left out, which llama.cpp has none of
        asked = inputs(dense.spec, left=True)
        right = inputs(dense.spec)["attention_mask"].astype(bool)
        ids = np.zeros_like(asked["input_ids"])
        ids[asked["attention_mask"].astype(bool)] = inputs(dense.spec)["input_ids"][right]
        asked["input_ids"], moved = ids, np.zeros_like(wanted)
        moved[asked["attention_mask"].astype(bool)] = wanted[right]
        wanted = moved
    close(made.load()(asked), wanted, asked["attention_mask"], 0.01)


@LLAMACPP
def test_more_tokens_than_are_read_at_once_and_fewer_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compressors.runtimes import llamacpp

    monkeypatch.setattr(llamacpp, "TOKENS", 30)
    dense, made = saved("llama", tmp_path)
    asked = {name: np.concatenate([values, values[::-1]]) for name, values in inputs(dense.spec).items()}
    forward, wanted = made.load(), dense.load()(asked)
    close(forward(asked), wanted, asked["attention_mask"], 0.01)
    one = {name: values[:1, :4] for name, values in asked.items()}
    close(forward(one), dense.load()(one), one["attention_mask"], 0.01)


def likeliest(dense: Artifact, prompt: np.ndarray, found: np.ndarray) -> None:
    """Every token is what torch finds likeliest after those before it, or as likely to within rounding."""
    whole = np.concatenate([prompt, found], 1)
    logits = dense.load()({"input_ids": whole, "attention_mask": np.ones_like(whole)})[:, prompt.shape[1] - 1 : -1]
    chosen = np.take_along_axis(logits, found[:, :, None], 2)[:, :, 0]
    assert (logits.max(2) - chosen).max() < 0.01 * logits.std(), found


@LLAMACPP
@pytest.mark.parametrize("kind", KINDS)
def test_it_generates_what_torch_does(tmp_path: Path, kind: str) -> None:
    dense, made = saved(kind, tmp_path)
    prompt = np.random.default_rng(1).integers(5, dense.spec.config["vocab_size"], (2, 9))
    generator = made.generator()
    first = generator.prefill(prompt)
    found = generator.decode(first, 8)
    likeliest(dense, prompt, np.concatenate([first[:, None], found], 1))
    again = generator.decode(first, 8)  # what the first time cached is dropped
    likeliest(dense, prompt, np.concatenate([first[:, None], again], 1))
    generator.rewind()
    likeliest(dense, prompt[:, :5], generator.prefill(prompt[:, :5])[:, None])


@LLAMACPP
def test_bytes_are_those_of_the_file_and_of_fp16_keys_and_values(tmp_path: Path) -> None:
    dense, made = saved("llama", tmp_path, "f16")
    generator, config = made.generator(), dense.model().config
    generator.prefill(np.full((2, 9), 7))
    head = config.hidden_size // config.num_attention_heads
    assert generator.bytes_cached() == 2 * 2 * 9 * config.num_hidden_layers * config.num_key_value_heads * head * 2
    weights = generator.bytes_read() - generator.bytes_cached()
    inventory = made.inventory()
    assert inventory.parameters == dense.inventory().parameters
    table = 0 if config.tie_word_embeddings else 2 * config.vocab_size * config.hidden_size
    assert weights == 2 * inventory.dtypes["f16"] + 4 * inventory.dtypes["f32"] - table


@LLAMACPP
def test_its_roundings_cost_less_the_more_bits_they_have(tmp_path: Path) -> None:
    off = {}
    for type in ("f16", "q8_0", "q4_0"):
        dense, made = saved("llama", tmp_path / type, type)
        asked = inputs(dense.spec)
        there = asked["attention_mask"].astype(bool)
        wanted = dense.load()(asked)[there]
        off[type] = float(np.abs(made.load()(asked)[there] - wanted).mean() / wanted.std())
        if type != "f16":
            assert made.inventory().dtypes[type] > 0.8 * made.inventory().parameters
    assert off["f16"] < 0.2 * off["q8_0"] < 0.2 * 0.3 * off["q4_0"], off


@LLAMACPP
def test_a_file_of_others_is_run_by_it(tmp_path: Path) -> None:
    """Its codes are of four bits, and llama.cpp rounds what they are multiplied by to eight."""
    FILES.write(tmp_path / "tiny.gguf")
    dense = artifact.save(of_the_file(tmp_path / "tiny.gguf"), tmp_path / "dense", SPEC)
    given = Given(str(tmp_path / "tiny.gguf"))
    looked = given.looked()
    assert given.fit(looked, SPEC).notes == ()
    context = Context(SPEC, CPU, dense.model)
    made = build_step(replace(given, sha256=looked.sha256), dense, context, tmp_path / "made")
    assert made.manifest["runtime"] == "llamacpp"
    ids = np.arange(12, dtype=np.int64).reshape(2, 6) % len(FILES.TOKENS)
    asked = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    close(made.load()(asked), dense.load()(asked), asked["attention_mask"], 0.2)
    case = Case("speed", "x", given, find_model("smollm2-bbc"), CPU, decode(1, 8, 4), Target())
    assert no_generator(given, case) is None


@LLAMACPP
def test_what_is_damaged_is_no_model(tmp_path: Path) -> None:
    _, made = saved("llama", tmp_path)
    file = made.directory / "model.gguf"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(Unsupported, match=r"llama\.cpp does not load it: .*(file|tensor|model)"):
        made.load()


def test_a_type_is_one_of_llama_cpps() -> None:
    with pytest.raises(PressbenchError, match="type = 'q4': must be one of q4_0, q8_0, q4_k_m"):
        registry.build("quantize-gguf", {"type": "q4"})
