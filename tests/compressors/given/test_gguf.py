"""A GGUF file is scored as llama.cpp's weights answer, and claims no speed and no memory of its own."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.run.lanes import no_generator
from benchmarks.zoo import find_model
from benchmarks.zoo.assets import smollm2
from benchmarks.zoo.workload import decode
from compressors import artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.interface import Context, Hardware, InputSpec, ModelSpec

CPU = Hardware("cpu", "cpu-other")
TEXTS = InputSpec("int64", ("batch", "sequence"))


def _files() -> Any:
    """How the tests of the zoo write one."""
    path = Path(__file__).parents[2] / "benchmarks" / "zoo" / "test_gguf.py"
    spec = importlib.util.spec_from_file_location("gguf_files", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES = _files()
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": FILES.WIDTH,
    "num_hidden_layers": FILES.LAYERS, "num_attention_heads": FILES.HEADS, "num_key_value_heads": FILES.GROUPS,
    "intermediate_size": FILES.INNER, "vocab_size": len(FILES.TOKENS), "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "use_cache": False,
}  # fmt: skip
SPEC = ModelSpec("tiny", CONFIG, {"input_ids": TEXTS, "attention_mask": TEXTS})


ALONE = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is not None, reason="llama.cpp runs it: test_llamacpp")


def model(path: Path) -> transformers.LlamaForCausalLM:
    """The file's weights by the suite's own reader, in a model of transformers'."""
    settings = {key: value for key, value in CONFIG.items() if key not in ("model_type", "architectures")}
    made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    made.load_state_dict(
        smollm2.weights(path, FILES.LAYERS, {"q_proj": FILES.HEADS, "k_proj": FILES.GROUPS}), strict=False
    )
    made.tie_weights()
    return made.eval()


@ALONE
def test_it_is_scored_by_its_own_weights_and_counted_by_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    FILES.write(path)
    dense = artifact.save(model(path), tmp_path / "dense", SPEC)
    given = Given(str(path))
    looked = given.looked()
    assert "transformers' reading" in given.fit(looked, SPEC).notes[0]
    assert given.form[0].told(looked).startswith("GGUF (llama, ")
    context = Context(SPEC, CPU, dense.model)
    made = build_step(replace(given, sha256=looked.sha256), dense, context, tmp_path / "made")
    ids = np.arange(12, dtype=np.int64).reshape(2, 6) % len(FILES.TOKENS)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    np.testing.assert_allclose(made.load()(inputs), dense.load()(inputs), atol=2e-3)
    inventory, whole = made.inventory(), dense.inventory()
    assert inventory.parameters == whole.parameters
    assert inventory.dtypes["q4_1"] > 0.9 * inventory.parameters
    assert made.manifest["files"]["model.gguf"]["bytes"] == path.stat().st_size
    assert made.disk_bytes < 0.4 * dense.disk_bytes


@ALONE
def test_it_claims_no_speed(tmp_path: Path) -> None:
    FILES.write(tmp_path / "tiny.gguf")
    given = Given(str(tmp_path / "tiny.gguf"))
    case = Case("speed", "x", given, find_model("smollm2-bbc"), CPU, decode(1, 8, 4), Target())
    assert no_generator(given, case) == "what runs a GGUF file is llama.cpp, which is not installed: no speed"


def test_what_is_not_the_dense_models_kind_is_refused(tmp_path: Path) -> None:
    FILES.write(tmp_path / "tiny.gguf")
    given = Given(str(tmp_path / "tiny.gguf"))
    looked = given.looked()
    with pytest.raises(GivenError, match="a vocabulary of 40 tokens, the dense model one of 99: it reads the numbers"):
        given.fit(looked, replace(SPEC, config={**CONFIG, "vocab_size": 99}))
    with pytest.raises(GivenError, match="is read as a language model, and BertModel is none"):
        given.fit(looked, replace(SPEC, config={**CONFIG, "architectures": ["BertModel"]}))
    (tmp_path / "bad.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:200])
    with pytest.raises(GivenError, match=r"bad.gguf: bad.gguf (cannot be read|is damaged)"):
        Given(str(tmp_path / "bad.gguf")).looked()


def test_torch_reads_the_same(tmp_path: Path) -> None:
    """The reference above is itself what transformers reads."""
    FILES.write(tmp_path / "tiny.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="tiny.gguf", dtype=torch.float32
    ).eval()
    ids = torch.arange(6)[None]
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, model(tmp_path / "tiny.gguf")(ids).logits, atol=2e-3, rtol=0)
