"""Graphs of language models whose places and cache are inputs, as optimum exports them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[2]))
from tiny_architectures import make, spec_of

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.run.lanes import no_generator
from benchmarks.zoo import find_model
from benchmarks.zoo.workload import decode
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.given.graph import fit_ports
from compressors.given.port import Port
from compressors.interface import Context, Hardware, Unsupported
from compressors.runtimes.cached_graph import _program
from compressors.runtimes.onnx_generation import weight_bytes

CPU = Hardware("cpu", "cpu-other")
LLAMA = spec_of("llama")
LAYERS, HEADS = LLAMA.config["num_hidden_layers"], LLAMA.config["num_key_value_heads"]
WIDTH = LLAMA.config["hidden_size"] // LLAMA.config["num_attention_heads"]
KEPT = [f"{layer}.{what}" for layer in range(LAYERS) for what in ("key", "value")]
BESIDE = ["input_ids", "attention_mask", "position_ids"]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make("llama", tmp_path_factory.mktemp("llama")).dense


@pytest.fixture(scope="module")
def handing_on(dense: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph with the inputs and outputs that optimum gives one."""
    past = [(torch.zeros(2, HEADS, 3, WIDTH), torch.zeros(2, HEADS, 3, WIDTH)) for _ in range(LAYERS)]
    exported = torch.onnx.export(
        _program(dense.model(), dense.spec, past), dynamo=True, verbose=False,
        input_names=[*BESIDE, *(f"past_key_values.{name}" for name in KEPT)],
        output_names=["logits", *(f"present.{name}" for name in KEPT)],
    )  # fmt: skip
    assert exported is not None
    path = tmp_path_factory.mktemp("theirs") / "model.onnx"
    onnx.save(exported.model_proto, str(path))
    return path


def taken(path: Path, dense: Artifact, folder: Path) -> Artifact:
    looked = Given(str(path)).looked()
    given = Given(str(path), looked.sha256)
    assert given.fit(looked, dense.spec).notes == ()
    return build_step(given, dense, Context(dense.spec, CPU, dense.model), folder)


def prompts(rows: int, tokens: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, LLAMA.config["vocab_size"], (rows, tokens))


def test_it_is_scored_as_the_dense_model_is(handing_on: Path, dense: Artifact, tmp_path: Path) -> None:
    made = taken(handing_on, dense, tmp_path / "made")
    inputs = {"input_ids": prompts(3, 9), "attention_mask": np.ones((3, 9), np.int64)}
    inputs["attention_mask"][1, 5:] = 0
    seen = inputs["attention_mask"] == 1
    np.testing.assert_allclose(made.load()(inputs)[seen], dense.load()(inputs)[seen], atol=1e-5)
    executed, whole = made.executed(inputs), dense.executed(inputs)
    assert executed is not None and whole is not None
    assert executed.total == pytest.approx(whole.total, rel=0.1)


def test_it_writes_what_the_dense_model_writes(handing_on: Path, dense: Artifact, tmp_path: Path) -> None:
    made = taken(handing_on, dense, tmp_path / "made")
    ours, theirs = made.generator(), dense.generator()
    for ids in (prompts(2, 11), prompts(2, 6, seed=1)):  # the second: nothing stays of the first
        first = theirs.prefill(ids)
        np.testing.assert_array_equal(ours.prefill(ids), first)
        told = theirs.decode(first, 7)
        np.testing.assert_array_equal(ours.decode(first, 7), told)
        np.testing.assert_array_equal(ours.decode(first, 7), told)  # nor of what was told before
        assert ours.bytes_cached() == theirs.bytes_cached() == 2 * LAYERS * 2 * HEADS * ids.shape[1] * WIDTH * 4
        assert ours.bytes_read() == pytest.approx(theirs.bytes_read(), rel=0.05)


def test_of_a_graph_alone_it_is_known_that_it_may_generate(handing_on: Path) -> None:
    """The suite's own exports for this runtime keep no cache: those are not made in vain."""
    from compressors import registry

    def why(compressor: Any) -> str | None:
        model = find_model("smollm2-bbc")
        return no_generator(compressor, Case("speed", "x", compressor, model, CPU, decode(1, 8, 4), Target()))

    assert why(Given(str(handing_on))) is None
    told = "onnxruntime keeps no key-value cache here: no prefill and no decode"
    assert why(registry.build("onnxruntime-fp32")) == told


def test_without_a_cache_it_is_scored_and_generates_nothing(dense: Artifact, tmp_path: Path) -> None:
    from compressors.runtimes.export import to_onnx

    onnx.save(to_onnx(dense.model(), dense.spec), str(tmp_path / "model.onnx"))
    made = taken(tmp_path / "model.onnx", dense, tmp_path / "made")
    with pytest.raises(Unsupported, match="the ONNX graph is given no key-value cache: no prefill and no decode"):
        made.generator()


def test_openvino_scores_such_a_graph_and_says_how_it_would_decode(
    handing_on: Path, dense: Artifact, tmp_path: Path
) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(str(handing_on)), str(tmp_path / "m.xml"), compress_to_fp16=False)
    made = taken(tmp_path / "m.xml", dense, tmp_path / "made")
    inputs = {"input_ids": prompts(2, 9), "attention_mask": np.ones((2, 9), np.int64)}
    np.testing.assert_allclose(made.load()(inputs), dense.load()(inputs), atol=1e-5)
    assert made.executed(inputs) is not None
    with pytest.raises(Unsupported, match=r"is given its cache .* export it with state"):
        made.generator()


def test_another_rotary_base_in_the_file_beside_it_is_told(handing_on: Path, dense: Artifact, tmp_path: Path) -> None:
    import openvino

    (tmp_path / "model.onnx").write_bytes(handing_on.read_bytes())
    openvino.save_model(openvino.convert_model(str(handing_on)), str(tmp_path / "m.xml"), compress_to_fp16=False)
    (tmp_path / "config.json").write_text(json.dumps({"rope_theta": 77.0, "transformers_version": "4.57.6"}))
    for name in ("model.onnx", "m.xml"):
        given = Given(str(tmp_path / name))
        (note,) = given.fit(given.looked(), dense.spec).notes
        assert note.startswith("config.json beside it has a rotary base (rope_theta) of 77, the dense model 10,000")


# -- what is refused -------------------------------------------------------------------------------


def whole(name: str, *dims: int | None) -> Port:
    return Port(name, "int64", dims or (None, None))


def cache(name: str, *dims: int | None, dtype: str = "float32") -> Port:
    return Port(name, dtype, dims or (None, HEADS, None, WIDTH))


IDS, MASK, LOGITS = whole("input_ids"), whole("attention_mask"), Port("logits", "float32", (None, None, None))
KEY, VALUE = cache("past_key_values.0.key"), cache("past_key_values.0.value")
NO_CACHE = "no cache .* with free batch and length"
AFTER = [cache("present.0.key"), cache("present.0.value")]


@pytest.mark.parametrize(
    ("given", "made", "told"),
    [
        ([KEY, VALUE], AFTER[:1], r"no output hands it on: present.0.value is missing; there are logits"),
        ([KEY], AFTER, "keys without values, or values without keys: past_key_values.0.key"),
        ([cache("past_key_values.0.key", 1, HEADS, None, WIDTH), VALUE], AFTER, NO_CACHE),
        ([cache("past_key_values.0.key", None, HEADS, 64, WIDTH), VALUE], AFTER, NO_CACHE),
        ([cache("past_key_values.0.key", None, None, WIDTH), VALUE], AFTER, r"no cache \[\?, heads, \?, width\]"),
        ([cache("past_key_values.0.key", dtype="float16"), VALUE], AFTER, "hands on what its input .* does not take"),
        ([cache("past_key_values.0.key", dtype="int8"), VALUE], AFTER, "is a cache of int8, which is not fed here"),
        ([whole("position_ids", 3, None, None)], [], "is not the place of each token"),
        ([whole("position_ids", 1, None)], [], "is not the place of each token"),
        ([cache("past_conv.0"), KEY, VALUE], AFTER, "wants past_conv.0 float32"),
        ([Port("use_cache_branch", "bool", (1,)), KEY, VALUE], AFTER, "is two graphs in one, between which use_ca"),
    ],
)  # fmt: skip
def test_what_cannot_be_handed_on_is_one_line(given: list[Port], made: list[Port], told: str) -> None:
    with pytest.raises(GivenError, match=f"^model.onnx: .*{told}") as caught:
        fit_ports("model.onnx", [IDS, MASK, *given], [LOGITS, *made], LLAMA, {}, None)
    assert "\n" not in str(caught.value)


# -- what a token makes it read --------------------------------------------------------------------


def test_tables_of_which_rows_are_gathered_are_not_read() -> None:
    """Unless the output layer multiplies by them, or something else is done with the whole of them."""

    def stored(name: str, dtype: Any = np.float32) -> Any:
        return numpy_helper.from_array(np.zeros((10, 4), dtype), name)

    def read(*nodes: Any, tensors: Any) -> int:
        return weight_bytes(helper.make_graph(list(nodes), "g", [], [], tensors))

    gather = helper.make_node("Gather", ["table", "ids"], ["rows"])
    product = helper.make_node("MatMul", ["rows", "weight"], ["out"])
    assert read(gather, product, tensors=[stored("table"), stored("weight")]) == 160
    tied = [helper.make_node("Transpose", ["table"], ["t"]), helper.make_node("MatMul", ["rows", "t"], ["out"])]
    assert read(gather, *tied, tensors=[stored("table")]) == 160
    unpacked = helper.make_node("DequantizeLinear", ["codes", "scale"], ["table"])
    assert read(unpacked, gather, product, tensors=[stored("codes", np.int8), stored("weight"), stored("scale")]) == 160
    assert read(unpacked, *tied, tensors=[stored("codes", np.int8)]) == 40
    halves = helper.make_tensor("weight", TensorProto.INT4, (10, 4), [1] * 40)
    constant = helper.make_node("Constant", [], ["more"], value=stored("more"))
    assert read(constant, helper.make_node("MatMulInteger", ["a", "weight"], ["b"]), tensors=[halves]) == 20 + 160
