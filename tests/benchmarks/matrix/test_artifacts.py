"""What `--artifact` names, and a mistake in it told in one line before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import zoo
from benchmarks.cache import Cache
from benchmarks.matrix.artifacts import GivenArtifact, by_options, of_model
from benchmarks.matrix.cases import expand
from benchmarks.matrix.matrix import Matrix
from benchmarks.matrix.options import add_options
from benchmarks.matrix.targets import Target
from compressors.interface import Hardware, PressbenchError

MODEL = zoo.known_models()["vit-digits"]
CPU = Hardware("cpu", "cpu-avx2")


def graph(path: Path, given: str = "pixel_values", made: str = "logits", classes: int = 10) -> Path:
    """A classifier of digits: one product."""
    weight = numpy_helper.from_array(np.ones((64, classes), np.float32), "w")
    nodes = [helper.make_node("Flatten", [given], ["f"]), helper.make_node("MatMul", ["f", "w"], [made])]
    body = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(given, TensorProto.FLOAT, [None, 1, 8, 8])],
        [helper.make_tensor_value_info(made, TensorProto.FLOAT, [None, classes])], [weight],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], producer_name="hand"), str(path))
    return path


def named(*texts: str, at: Path) -> dict[str, GivenArtifact]:
    return by_options(texts, [MODEL], at, Cache(at / "cache"))[MODEL.name]


def test_a_name_or_none_a_file_or_a_folder(tmp_path: Path) -> None:
    graph(tmp_path / "My Student" / "model.onnx")
    found = named("My Student", "int8=My Student/model.onnx", str(tmp_path / "My Student" / "model.onnx"), at=tmp_path)
    assert list(found) == ["my-student", "int8", "model-onnx"]
    assert len({one.given.sha256 for one in found.values()}) == 1, "the same model"
    assert found["int8"].told[0].startswith("ONNX (hand; ai.onnx 17), ")
    assert found["int8"].said == "My Student/model.onnx"


def test_what_ports_are_is_said_behind_a_colon(tmp_path: Path) -> None:
    graph(tmp_path / "a.onnx", "foo", "bar")
    (found,) = named("x=a.onnx:inputs.foo=pixel_values,output=bar", at=tmp_path).values()
    assert (found.given.inputs, found.given.output) == (("foo=pixel_values",), "bar")
    graph(tmp_path / "c:output=d.onnx")
    (other,) = named("c:output=d.onnx", at=tmp_path).values()
    assert other.given.output is None, "a file of that name is there"
    zoo_file = {"x": {"path": "a.onnx", "inputs": {"foo": "pixel_values"}, "output": "bar"}}
    assert of_model(zoo_file, MODEL, "zoo.toml: [m.artifacts]", tmp_path, Cache(tmp_path))["x"].given == found.given


def test_the_function_of_a_python_file_is_said_behind_a_colon(tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text("def load(directory, threads): ...")
    (found,) = named("serve.py:load", at=tmp_path).values()
    assert (found.said, found.given.function) == ("serve.py", "load")
    assert found.told[0] == "a Python file, 33 bytes"
    zoo_file = {"x": {"path": "serve.py", "function": "load"}}
    assert of_model(zoo_file, MODEL, "zoo.toml: [m.artifacts]", tmp_path, Cache(tmp_path))["x"].given == found.given
    with pytest.raises(
        PressbenchError, match=r"--artifact serve-py: serve\.py: has no function 'lod'; did you mean load"
    ):
        named("serve.py:lod", at=tmp_path)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["gone.onnx"], "--artifact gone-onnx: gone.onnx: no such file or folder"),
        (["a.onnx", "./a.onnx"], "--artifact ./a.onnx: two are called 'a-onnx'; name one, NAME=PATH"),
        (["int8-openvino=a.onnx"], "--artifact int8-openvino: a method has that name; take another"),
        (["Int 8=a.onnx"], "--artifact Int 8: a name is made of small letters"),
        (["=a.onnx"], "--artifact =a.onnx: not [NAME=]PATH"),
        (["x="], "--artifact x=: not [NAME=]PATH"),
        (
            ["x=a.onnx:outputs=b"],
            "--artifact x=a.onnx:outputs=b: 'outputs=b' is not a function, output=NAME or inputs.NAME=INPUT",
        ),
        (
            ["x=a.onnx:inputs=b"],
            "--artifact x=a.onnx:inputs=b: 'inputs=b' is not a function, output=NAME or inputs.NAME=INPUT",
        ),
        (["x=a.onnx:output=b"], "--artifact x: a.onnx: has no output 'b'; there are logits float32 [?, 10]"),
        (
            ["x=other.onnx"],
            "--artifact x: other.onnx: its output logits float32 [?, 7] is 7 wide, the dense model's 10",
        ),
        (["x=text.onnx"], "--artifact x: text.onnx: text.onnx cannot be read: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, texts: list[str], told: str) -> None:
    graph(tmp_path / "a.onnx")
    graph(tmp_path / "other.onnx", classes=7)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(PressbenchError) as error:
        named(*texts, at=tmp_path)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_it_goes_with_one_model(tmp_path: Path) -> None:
    graph(tmp_path / "a.onnx")
    with pytest.raises(PressbenchError, match=r"--artifact: is held against one dense model, name it with --model"):
        by_options(["a.onnx"], list(zoo.known_models().values()), tmp_path, Cache(tmp_path))


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"x": 3}, r"\[m.artifacts\] x: must be a path, or a table with path"),
        ({"x": {"output": "a"}}, "must be a path, or a table with path"),
        ({"x": {"path": "a.onnx", "outputs": "a"}}, "unknown key 'outputs'; did you mean output"),
        ({"x": {"path": "a.onnx", "inputs": ["a"]}}, "inputs must be a table NAME = INPUT, output and function names"),
    ],
)
def test_a_zoo_file_that_is_wrong_is_one_line(tmp_path: Path, stated: dict[str, Any], told: str) -> None:
    graph(tmp_path / "a.onnx")
    with pytest.raises(PressbenchError, match=told):
        of_model(stated, MODEL, "[m.artifacts]", tmp_path, Cache(tmp_path))


def matrix(*options: str) -> Matrix:
    import argparse

    parser = argparse.ArgumentParser()
    add_options(parser.add_argument)
    values = vars(parser.parse_args(options))
    return Matrix(lambda name: values[name.removeprefix("--").replace("-", "_")])


def test_artifacts_run_instead_of_the_tiers_methods_and_beside_those_that_are_named(tmp_path: Path) -> None:
    path = str(graph(tmp_path / "a.onnx"))
    alone = [case.compressor_id for case in matrix("--model", MODEL.name, "--artifact", f"x={path}").cases["accuracy"]]
    assert alone[0] == "dense"
    assert alone[-1] == "x"
    assert all(name in alone for name in ("onnxruntime-fp32", "openvino-fp32"))
    assert not any(name.startswith(("prune", "quantize", "distil")) for name in alone)
    both = matrix("--model", MODEL.name, "--artifact", f"x={path}", "--compressor", "int8-onnxruntime")
    assert [case.compressor_id for case in both.cases["speed"]] == ["x", "int8-onnxruntime"]


def test_a_port_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    graph(tmp_path / "a.onnx", "foo:0", "Identity:0")
    (found,) = named("x=a.onnx:inputs.foo:0=pixel_values,output=Identity:0", at=tmp_path).values()
    assert (found.given.inputs, found.given.output) == (("foo:0=pixel_values",), "Identity:0")


@pytest.mark.parametrize("text", ["x=" + "a" * 300, "~nobody-of-that-name/x", "x=a\0b"])
def test_what_no_file_system_takes_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(PressbenchError, match="no such file or folder"):
        named(text, at=tmp_path)


def test_a_target_of_its_own_may_ask_for_speed(tmp_path: Path) -> None:
    graph(tmp_path / "a.onnx")
    given = named("x=a.onnx", at=tmp_path)["x"].given
    target = Target(accuracy_drop=0.01, size=0.5, speed={"cpu-avx2": 2.0})
    (case,) = expand("speed", {}, [MODEL], [CPU], {MODEL.name: {"x": target}}, "quick", {MODEL.name: {"x": given}})
    assert (case.id, case.speed_target) == ("x-vit-digits-cpu", 2.0)
