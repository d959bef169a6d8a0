"""Files of others: they answer as they do in their own runtime, nothing outside of their folder is read, and what is
damaged ends a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compressors import conformance
from compressors.artifact import Artifact, open_artifact
from compressors.build import build_step
from compressors.given.apart import read_apart
from compressors.given.form import GivenError, form_of
from compressors.given.given import Given
from compressors.interface import Context, Hardware, ModelSpec, PressbenchError
from compressors.runtimes.export import to_onnx, to_openvino
from compressors.runtimes.files import Files
from compressors.tiny_specs import TINY_SPECS
from compressors.witness import witness

CPU = Hardware("cpu", "cpu-other")


def named(path: Path, spec: ModelSpec, **more: Any) -> Given:
    """It as `--artifact` makes it, fitted."""
    given = Given(str(path), **more)
    looked = given.looked()
    given.fit(looked, spec)
    return Given(str(path), looked.sha256, **more)


def taken(given: Given, kind: str, folder: Path) -> Artifact:
    subject = conformance.subject(kind)
    dense = subject.dense
    return build_step(given, dense, Context(dense.spec, CPU, dense.model), folder)


def arrays(kind: str) -> dict[str, np.ndarray]:
    return {name: values.numpy()[:4] for name, values in conformance.subject(kind).examples.inputs.items()}


def by_torch(kind: str) -> np.ndarray:
    subject = conformance.subject(kind)
    with torch.inference_mode():
        found = subject.dense.model()(**{name: torch.from_numpy(a) for name, a in arrays(kind).items()}).logits
    return found.numpy()


@pytest.fixture(scope="module")
def exported() -> Any:
    subject = conformance.subject("bert")
    return to_onnx(subject.dense.model(), subject.dense.spec)


def renamed(graph: Any, names: dict[str, str]) -> Any:
    """The graph with other names for its inputs and outputs."""
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    for value in (*found.graph.input, *found.graph.output):
        value.name = names.get(value.name, value.name)
    for node in found.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return found


# -- ONNX --------------------------------------------------------------------------------------------


def test_an_onnx_file_answers_as_torch_does_whatever_its_ports_are_called(tmp_path: Path, exported: Any) -> None:
    names = {"input_ids": "ids", "attention_mask": "mask", "logits": "scores"}
    onnx.save(renamed(exported, names), str(tmp_path / "theirs.onnx"))
    given = named(tmp_path / "theirs.onnx", TINY_SPECS["bert"])
    made = taken(given, "bert", tmp_path / "made")
    np.testing.assert_allclose(made.load()(arrays("bert")), by_torch("bert"), atol=1e-5)
    assert (tmp_path / "theirs.onnx").read_bytes() == (tmp_path / "made" / "model.onnx").read_bytes()
    executed, dense = made.executed(arrays("bert")), conformance.subject("bert").dense.executed(arrays("bert"))
    assert executed and dense and executed.total == pytest.approx(dense.total, rel=0.05)
    assert "output scores" in made.recipe[-1]["told"]["notes"]


def test_a_folder_with_one_file_is_that_file_and_one_with_several_is_refused(tmp_path: Path, exported: Any) -> None:
    onnx.save(exported, str(tmp_path / "model.onnx"))
    assert form_of(tmp_path, "x")[1] == tmp_path / "model.onnx"
    shutil.copy(tmp_path / "model.onnx", tmp_path / "model_int8.onnx")
    with pytest.raises(GivenError, match=r"x: 2 models in one folder \(model.onnx, model_int8.onnx\): name the file"):
        form_of(tmp_path, "x")
    (tmp_path / "model_int8.onnx").unlink()
    for name in ("openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(GivenError, match=r"two sets of weights in one folder, .* name the file that is meant"):
        form_of(tmp_path, "x")
    with pytest.raises(GivenError, match=r"none of .*an ONNX file, an OpenVINO graph"):
        form_of(tmp_path / "openvino_model.bin", "x")
    with pytest.raises(GivenError, match="no such file or folder"):
        form_of(tmp_path / "gone", "x")


def test_weights_beside_the_graph_come_along_and_count(tmp_path: Path, exported: Any) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    graph = renamed(exported, {})
    onnx.save(graph, str(folder / "m.onnx"), save_as_external_data=True, location="weights.data", size_threshold=64)
    made = taken(named(folder / "m.onnx", TINY_SPECS["bert"]), "bert", tmp_path / "made")
    np.testing.assert_allclose(made.load()(arrays("bert")), by_torch("bert"), atol=1e-5)
    assert set(made.manifest["files"]) == {"model.onnx", "weights.data"}
    one = taken(named(_saved(exported, tmp_path / "one.onnx"), TINY_SPECS["bert"]), "bert", tmp_path / "b")
    assert made.inventory().parameters == one.inventory().parameters
    before = Given(str(folder / "m.onnx")).looked().sha256
    data = bytearray((folder / "weights.data").read_bytes())
    data[0] ^= 1
    (folder / "weights.data").write_bytes(data)
    assert Given(str(folder / "m.onnx")).looked().sha256 != before, "another model by its weights"


def _saved(graph: Any, path: Path) -> Path:
    onnx.save(graph, str(path))
    return path


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("../secret.bin", "takes weights from outside of its folder: '../secret.bin'"),
        ("/etc/hostname", "takes weights from outside of its folder: '/etc/hostname'"),
        ("link.bin", "takes weights from outside of its folder: 'link.bin'"),
        ("gone.bin", "gone.bin is missing"),
    ],
)
def test_nothing_is_read_from_outside_of_the_folder(tmp_path: Path, exported: Any, place: str, told: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(2**16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    graph = renamed(exported, {})
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    onnx.save(graph, str(folder / "m.onnx"))
    with pytest.raises(GivenError, match=told):
        Given(str(folder / "m.onnx")).looked()


def test_weights_of_a_graph_within_the_graph_are_looked_at_too(tmp_path: Path) -> None:
    """A branch of an If holds weights of its own."""
    inner = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    inner.ClearField("float_data")
    inner.data_location = TensorProto.EXTERNAL
    inner.external_data.add(key="location", value="../w.bin")
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None])]
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["logits"])], "branch", [], out, [inner])
    node = helper.make_node("If", ["c"], ["logits"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("c", TensorProto.BOOL, [])], out)
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    with pytest.raises(GivenError, match="outside of its folder"):
        Given(str(tmp_path / "m.onnx")).looked()


def test_numbers_of_half_the_width_are_given_as_such_and_answered_as_floats(tmp_path: Path) -> None:
    spec = TINY_SPECS["vit"]
    pixels, classes = [int(a) for a in spec.inputs["pixel_values"].axes[1:]], by_torch("vit").shape[1]
    weight = np.random.default_rng(0).normal(size=(int(np.prod(pixels)), classes)).astype(np.float16)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [None, *pixels])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [None, classes])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    _saved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "half.onnx")
    made = taken(named(tmp_path / "half.onnx", spec), "vit", tmp_path / "made")
    found, given = made.load()(arrays("vit")), arrays("vit")["pixel_values"].astype(np.float16)
    assert found.dtype == np.float32
    exact = given.astype(np.float64).reshape(len(given), -1) @ weight.astype(np.float64)
    np.testing.assert_allclose(found, exact, atol=0.05)
    assert made.inventory().dtypes == {"float16": weight.size}


def test_a_file_that_changed_since_it_was_named_is_not_taken(tmp_path: Path, exported: Any) -> None:
    given = named(_saved(exported, tmp_path / "m.onnx"), TINY_SPECS["bert"])
    another = renamed(exported, {})
    another.producer_version = "2"
    _saved(another, tmp_path / "m.onnx")
    with pytest.raises(GivenError, match=r"m\.onnx: changed since it was named"):
        taken(given, "bert", tmp_path / "made")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"not a graph", lambda data: b""])
def test_a_damaged_file_is_one_line(tmp_path: Path, exported: Any, damage: Callable[[bytes], bytes]) -> None:
    path = _saved(exported, tmp_path / "m.onnx")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GivenError) as error:
        named(path, TINY_SPECS["bert"])
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_ends_the_process_that_reads_it_ends_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text(f"import os, signal\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(GivenError, match=r"m: x.onnx is damaged: reading it ended the process that did \(SIGSEGV\)"):
        read_apart(ModuleType("hostile"), tmp_path / "x.onnx", "m")


def test_modules_of_the_folder_that_one_is_in_are_not_run(
    tmp_path: Path, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "onnx.py", "math.py"):
        (tmp_path / name).write_text("open('ran', 'w').close()\n")
    path = _saved(exported, tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    assert Given(str(path)).looked().facts["inputs"]
    assert not (tmp_path / "ran").exists()


def test_what_changes_between_the_look_and_the_copy_is_not_taken(tmp_path: Path, exported: Any) -> None:
    path = _saved(exported, tmp_path / "m.onnx")
    looked = Given(str(path)).looked()
    assert looked.sha256
    another = renamed(exported, {})
    another.producer_version = "2"
    _saved(another, path)
    with pytest.raises(PressbenchError, match=r"m\.onnx: changed while it was being read"):
        Files(looked.files, looked.hashes).copy(tmp_path / "made")


def test_the_operator_behind_an_output_is_seen_through_casts(tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["p"]), helper.make_node("Cast", ["p"], ["logits"], to=1)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ("x", "logits")]
    _saved(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:])), tmp_path / "m.onnx")
    assert Given(str(tmp_path / "m.onnx")).looked().facts["makers"] == {"logits": "Softmax"}


def test_the_dense_model_itself_is_told_to_be_that(tmp_path: Path, exported: Any) -> None:
    dense = conformance.subject("bert").dense
    made = taken(named(_saved(exported, tmp_path / "m.onnx"), dense.spec), "bert", tmp_path / "made")
    seen, fault = witness(dense, made, None, arrays("bert"))
    assert (
        fault == "it is the dense model: as large on disk, the same operations, and to rounding the same answers"
        or (made.disk_bytes < 0.99 * dense.disk_bytes and fault is None)
    )
    assert witness(dense, dense, None, arrays("bert")) == (
        [], "it is the dense model: as large on disk, the same operations, and to rounding the same answers",
    )  # fmt: skip
    assert not [word for word in seen if "operations" in word]


# -- OpenVINO ----------------------------------------------------------------------------------------


def test_an_openvino_graph_answers_as_torch_does(tmp_path: Path) -> None:
    import openvino

    subject = conformance.subject("bert")
    graph = to_openvino(subject.dense.model(), subject.dense.spec)
    for port, name in zip(graph.inputs, ("ids", "mask"), strict=True):
        port.get_tensor().set_names({name})
    graph.outputs[0].get_tensor().set_names({"scores"})
    openvino.save_model(graph, str(tmp_path / "theirs.xml"))  # weights as fp16, its own default
    made = taken(named(tmp_path / "theirs.xml", subject.dense.spec), "bert", tmp_path / "made")
    np.testing.assert_allclose(made.load()(arrays("bert")), by_torch("bert"), atol=5e-3)
    assert made.executed(arrays("bert")) is not None
    assert open_artifact(tmp_path / "made").manifest["runtime"] == "openvino"
    (tmp_path / "theirs.bin").unlink()
    with pytest.raises(GivenError, match=r"theirs.bin is missing, the weights of theirs.xml"):
        Given(str(tmp_path / "theirs.xml")).looked()


def test_a_language_model_that_keeps_a_cache_reads_and_writes(tmp_path: Path) -> None:
    """As optimum writes it: places and rows of the cache are inputs, which the runtime gives."""
    import openvino

    sys.path.append(str(Path(__file__).parents[2]))
    from tiny_architectures import make

    subject = make("llama", tmp_path / "llama")
    dense, spec = subject.dense, subject.spec
    openvino.save_model(to_openvino(dense.model(), spec), str(tmp_path / "m.xml"), compress_to_fp16=False)
    given = named(tmp_path / "m.xml", spec)
    made = build_step(given, dense, Context(spec, CPU, dense.model), tmp_path / "made")
    ids = np.arange(4, 12, dtype=np.int64)[None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    np.testing.assert_allclose(made.load()(inputs), dense.load()(inputs), atol=1e-4)
    ours, theirs = dense.generator(), made.generator()
    first = ours.prefill(ids)
    np.testing.assert_array_equal(theirs.prefill(ids), first)
    np.testing.assert_array_equal(theirs.decode(first, 5), ours.decode(first, 5))
