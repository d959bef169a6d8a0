"""CTranslate2 writes what transformers writes, of what its converter makes of the model."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parent.parent / "benchmarks" / "quality"))
from tiny_translators import INPUTS, KINDS, NEW, PAD, RULES, sources, spec
from tiny_translators import translator as drawn

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.measure import stages, timing
from benchmarks.quality.greedy import greedy
from benchmarks.run.lanes import no_generator
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.workload import Workload, generate
from compressors import artifact, registry
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.interface import Context, Hardware, ModelSpec, PressbenchError, Unsupported
from compressors.runtimes.ctranslate2_writing import reason
from compressors.skeleton import skeleton

THERE = pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="pip install ctranslate2")
CPU = Hardware("cpu", "cpu-generic", threads=1)
FP32, INT8 = registry.build("ctranslate2-fp32"), registry.build("ctranslate2-int8")
SHAPE = {
    "vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
    "eos_token_id": 1,
}  # fmt: skip
T5 = {
    "vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
OTHERS = {
    "bart": SHAPE | {"pad_token_id": 0, "bos_token_id": 2, "decoder_start_token_id": 1, "scale_embedding": True},
    "pegasus": SHAPE | {"pad_token_id": 0, "decoder_start_token_id": 0},
    "t5": T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": T5,
    "tied": T5 | {"model_type": "t5", "feed_forward_proj": "relu"},
}
NAMES = {
    "bart": "BartForConditionalGeneration", "pegasus": "PegasusForConditionalGeneration",
    "t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration", "tied": "T5ForConditionalGeneration",
}  # fmt: skip


def translator(kind: str, padding: float = 0.0) -> Any:
    """With the row of a Marian model's padding as they all have it."""
    model: Any = drawn(kind)
    if kind == "marian":
        with torch.no_grad():
            for table in (model.get_encoder().embed_tokens, model.get_decoder().embed_tokens):
                table.weight[PAD["marian"]] = padding
    return model


def other(kind: str) -> tuple[Any, ModelSpec]:
    """A model of another architecture than the tiny translators', with weights far from nought."""
    made = ModelSpec(kind, {"model_type": kind, "architectures": [NAMES[kind]], **OTHERS[kind]}, INPUTS)
    torch.manual_seed(1)
    model = skeleton(made.config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name and "shared" not in name:
                weight.normal_(0, 0.3)
    return model, made


def built(folder: Path, model: Any, of: ModelSpec, method: Any = FP32) -> tuple[Artifact, Artifact]:
    """As torch has it, and as CTranslate2 does."""
    dense = artifact.save(model, folder / "dense", of)
    return dense, build_step(method, dense, Context(of, CPU, dense.model), folder / "made")


def asked(start: int, pad: int, rows: int = 4) -> dict[str, np.ndarray]:
    """Texts of several lengths, and what the decoder is told."""
    draw = np.random.default_rng(0)
    ids, said = draw.integers(3, 60, (rows, 9)), draw.integers(3, 60, (rows, 7))
    there = (np.arange(9)[None] < np.array([9, 4, 1, 7])[:rows, None]).astype(np.int64)
    said[:, 0] = start
    return {"input_ids": np.where(there, ids, pad), "attention_mask": there, "decoder_input_ids": said}


@THERE
@pytest.mark.parametrize("kind", ["marian", *OTHERS])
def test_logits_of_all_places_are_those_of_torch(tmp_path: Path, kind: str) -> None:
    model, of = (translator(kind), spec(kind)) if kind == "marian" else other(kind)
    dense, made = built(tmp_path, model, of)
    inputs = asked(of.config["decoder_start_token_id"], of.config["pad_token_id"])
    wanted, found = dense.load()(inputs), made.load()(inputs)
    assert found.shape == wanted.shape and found.dtype == np.float32
    known = 63 if kind == "marian" else 64
    assert np.abs(found - wanted)[..., :known].max() < 1e-3 * wanted.std()
    assert (found[..., known:] == found[..., :known].min(-1, keepdims=True)).all() and np.isfinite(found).all()
    one = {name: values[:1, :1] for name, values in inputs.items()}
    np.testing.assert_allclose(made.load()(one)[..., :known], dense.load()(one)[..., :known], atol=1e-3 * wanted.std())


@THERE
@pytest.mark.parametrize("kind", KINDS)
def test_its_texts_are_those_of_torch(tmp_path: Path, kind: str) -> None:
    """Scored as every runtime is, with what the model's settings forbid."""
    both = built(tmp_path, translator(kind), spec(kind))
    wanted, found = (greedy(one.load(), sources(kind), NEW, (1,), RULES[kind]) for one in both)
    np.testing.assert_array_equal(found, wanted)
    assert len({tuple(row) for row in found.tolist()}) >= 3


@THERE
@pytest.mark.parametrize("kind", KINDS)
def test_under_the_clock_it_writes_what_its_own_passes_choose(tmp_path: Path, kind: str) -> None:
    dense, made = built(tmp_path, translator(kind), spec(kind))
    write_examples(sources(kind), tmp_path / "inputs.safetensors")
    states: list[dict[str, Any]] = [{}, {}]
    for state, one in zip(states, (dense, made), strict=True):
        stages.load(state, one.directory, CPU, "generate")
        timing.set_workload(state, tmp_path / "inputs.safetensors", generate(3, 9, 20))
        timing.ready(state, 3, 0, 2)
        state["slot"] = timing.go(state, 2)
    theirs, ours = (state["slot"].checked for state in states)
    np.testing.assert_array_equal(theirs.rows, ours.rows)
    assert ours.answer.shape == (3, 20)
    stages.load(states[1], made.directory, CPU)
    assert stages.explain(states[1], ours.rows, ours.answer, PAD[kind]).max() < 1e-3
    assert stages.explain(states[1], ours.rows, (ours.answer + 1) % 60, PAD[kind]).max() > 1
    if kind == "t5":  # of Marian's padding transformers writes what CTranslate2 has not
        np.testing.assert_array_equal(theirs.answer, ours.answer)


@THERE
def test_what_ends_a_text_ends_no_work(tmp_path: Path) -> None:
    model: Any = translator("t5")
    with torch.no_grad():
        model.lm_head.weight[1] *= 3
    dense, made = built(tmp_path, model, spec("t5"))
    ids = np.random.default_rng(1).integers(3, 60, (4, 9))
    wanted, found = (one.writer().write(ids, PAD["t5"], 20) for one in (dense, made))
    assert (found == 1).any()
    np.testing.assert_array_equal(found, wanted)


@THERE
def test_texts_that_begin_otherwise_are_told(tmp_path: Path) -> None:
    _, made = built(tmp_path, translator("t5"), spec("t5"))
    with pytest.raises(Unsupported, match="CTranslate2 begins texts with token 0, the data with 5"):
        made.load()(asked(5, 0))
    with pytest.raises(Unsupported, match="begins texts with token 0, the data with 5"):
        made.writer().write(np.full((1, 4), 7), 5, 3)


@THERE
def test_an_inventory_is_of_the_files(tmp_path: Path) -> None:
    dense, made = built(tmp_path / "fp32", translator("t5"), spec("t5"))
    _, coded = built(tmp_path / "int8", translator("t5"), spec("t5"), INT8)
    whole, fp32, int8 = (one.inventory() for one in (dense, made, coded))
    assert fp32.parameters == int8.parameters and set(fp32.dtypes) == {"float32"}
    assert 0.98 * whole.parameters < fp32.parameters <= whole.parameters, "equal ones are there once"
    assert int8.dtypes["int8"] > 0.95 * int8.parameters
    assert {"encoder.layer.0", "decoder.layer.1"} <= set(int8.layers)
    assert 0.98 * fp32.parameters < int8.nonzero < fp32.nonzero <= fp32.parameters
    assert sum(layer.parameters for layer in int8.layers.values()) == int8.parameters
    assert 0 < (made.directory / "model.bin").stat().st_size - sum(one.bytes for one in fp32.layers.values()) < 8000


@THERE
def test_int8_is_near_and_fewer_bytes_and_its_effect_is_witnessed(tmp_path: Path) -> None:
    from compressors.witness import witness

    dense, made = built(tmp_path, translator("t5"), spec("t5"), INT8)
    inputs = asked(0, 0)
    wanted, found = dense.load()(inputs), made.load()(inputs)
    assert 1e-4 < np.abs(found - wanted).mean() / wanted.std() < 0.1
    assert made.manifest["options"] == {"compute_type": "int8_float32"}
    _, fault = witness(dense, made, "kernel", inputs)
    assert fault is None
    again = made.model()  # and is saved again as it is
    copy = artifact.save(
        again, tmp_path / "again", made.spec, runtime_name="ctranslate2", options=made.manifest["options"]
    )
    np.testing.assert_array_equal(copy.load()(inputs), found)


@THERE
def test_what_the_converter_would_get_wrong_is_not_converted(tmp_path: Path) -> None:
    """The row of Marian's padding, which transformers begins with and CTranslate2 takes for noughts."""
    with pytest.raises(Unsupported, match="what CTranslate2's converter makes of it is another model: logits lie"):
        built(tmp_path, translator("marian", padding=3.0), spec("marian"))


@THERE
def test_a_structure_of_another_kind_is_not_converted(tmp_path: Path) -> None:
    model: Any = translator("t5")
    of, context = spec("t5"), SimpleNamespace(model=spec("t5"))
    model.decoder.block[0].layer[2].DenseReluDense.wi = torch.nn.Sequential(torch.nn.Linear(32, 64, bias=False))
    with pytest.raises(Unsupported, match=r"decoder\.block\.0\.layer\.2\.DenseReluDense\.wi is not what its config"):
        FP32.compress(model, context)  # type: ignore[arg-type]
    assert of.config["d_ff"] == 64


@THERE
def test_it_runs_on_the_cpu_and_its_files_are_no_pickle(tmp_path: Path) -> None:
    _, made = built(tmp_path, translator("t5"), spec("t5"))
    assert set(made.manifest["files"]) == {"model.bin", "config.json", "shared_vocabulary.json"}
    assert b"pickle" not in (made.directory / "model.bin").read_bytes()[:200]
    with pytest.raises(PressbenchError, match="CTranslate2 runs on the CPU here, not on cuda"):
        made.load(device="cuda")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architectures": ["T5EncoderModel"]}, "T5EncoderModel is not converted to CTranslate2 here; MarianMTModel, "),
        ({"model_type": "led", "architectures": ["LEDForConditionalGeneration"]}, "LEDForConditionalGeneration is not"),
        ({"decoder_start_token_id": None}, "names no decoder_start_token_id"),
        ({"model_type": "marian", "architectures": ["MarianMTModel"]}, "begin with padding, the last token"),
    ],
)
def test_what_is_not_converted_is_told(change: dict[str, Any], told: str) -> None:
    of = replace(spec("t5"), config={**spec("t5").config, **change})
    assert told in str(reason(of)) and told in str(FP32.supports(of, CPU)) and told in str(INT8.supports(of, CPU))
    assert reason(spec("t5")) is None and reason(spec("marian")) is None
    assert "not on cuda" in str(FP32.supports(spec("t5"), replace(CPU, device="cuda")))


@pytest.mark.parametrize("method", [FP32, INT8])
def test_it_is_timed_as_it_writes_and_in_no_other_way(method: Any) -> None:
    def told(workload: Workload) -> str | None:
        model: Any = SimpleNamespace(name="tiny", inputs=INPUTS, workloads=(workload,))
        return no_generator(method, Case("speed", "x", method, model, CPU, workload, Target()))

    assert told(generate(8, 64, 32)) is None
    assert told(Workload(8, 64)) == "ctranslate2 makes a pass token by token: no pass to be timed"
    assert method.name in registry.variants("full") and method.name not in registry.variants("nightly")
