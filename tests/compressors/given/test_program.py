"""A Python file and a function in it stand in for a model: what it returns is asked, and its own files are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compressors import artifact
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.interface import Context, Hardware, InputSpec, ModelSpec, PressbenchError
from compressors.skeleton import skeleton

CPU = Hardware("cpu", "cpu-other")
IMAGES = InputSpec("float32", ("batch", 1, 8, 8))
SPEC = ModelSpec(
    "tiny",
    {
        "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "image_size": 8, "patch_size": 4, "num_channels": 1,
        "num_labels": 3,
    },
    {"pixel_values": IMAGES},
)  # fmt: skip
ARRAYS = """
from pathlib import Path
import numpy as np
import beside

FILES = ("beside.py", "numbers/w.npy")

def load(directory: Path, threads: int):
    weight = np.load(directory / "numbers" / "w.npy")
    return lambda inputs: beside.product(inputs["pixel_values"], weight)
"""
BESIDE = "def product(x, w):\n    return x.reshape(len(x), -1) @ w\n"
MODULE = """
import torch
from safetensors.torch import load_file

FILES: list[str] = ["model.safetensors"]

class Half(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.head = torch.nn.Linear(64, 3, bias=False, dtype=torch.bfloat16)
        self.load_state_dict(weights)

    def forward(self, pixel_values):
        return {"logits": self.head(pixel_values.flatten(1).bfloat16()), "hidden": pixel_values}

def load(directory, threads):
    assert threads == torch.get_num_threads()
    return Half(load_file(directory / "model.safetensors"))
"""


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    torch.manual_seed(0)
    return artifact.save(skeleton(SPEC.config), tmp_path_factory.mktemp("dense") / "dense", SPEC)


def weight(folder: Path) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    (folder / "numbers").mkdir()
    np.save(folder / "numbers" / "w.npy", values)
    (folder / "beside.py").write_text(BESIDE)
    (folder / "serve.py").write_text(ARRAYS)
    return values


def made(given: Given, dense: Artifact, directory: Path) -> Artifact:
    looked = given.looked()
    given.fit(looked, SPEC)
    return build_step(replace(given, sha256=looked.sha256), dense, Context(SPEC, CPU, dense.model), directory)


def test_what_it_returns_is_called_with_arrays(tmp_path: Path, dense: Artifact) -> None:
    values = weight(tmp_path)
    found = made(Given(str(tmp_path / "serve.py"), function="load"), dense, tmp_path / "made")
    for path in ("serve.py", "beside.py", "numbers/w.npy"):
        (tmp_path / path).unlink()
    x = np.random.default_rng(1).normal(size=(5, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(found.load()({"pixel_values": x}), x.reshape(5, -1) @ values, rtol=1e-5)
    assert set(found.manifest["files"]) == {"program.py", "beside.py", "numbers/w.npy"}
    assert found.inventory().parameters == 0, "which a function does not tell"
    assert not list((tmp_path / "made").rglob("__pycache__")), "the artifact is what was given"


def test_a_module_answers_by_the_outputs_name_and_is_counted(tmp_path: Path, dense: Artifact) -> None:
    values = torch.randn(3, 64).bfloat16()
    save_file({"head.weight": values}, tmp_path / "model.safetensors")
    (tmp_path / "serve.py").write_text(MODULE)
    found = made(Given(str(tmp_path / "serve.py"), function="load"), dense, tmp_path / "made")
    x = np.random.default_rng(1).normal(size=(5, 1, 8, 8)).astype(np.float32)
    wanted = torch.from_numpy(x).flatten(1).bfloat16() @ values.T
    np.testing.assert_array_equal(found.load()({"pixel_values": x}), wanted.float().numpy())
    inventory = found.inventory()
    assert (inventory.parameters, inventory.dtypes) == (192, {"bfloat16": 192})
    assert found.executed({"pixel_values": x}).operations == {"bfloat16": 2 * 5 * 64 * 3}  # type: ignore[union-attr]


def test_another_file_beside_it_makes_it_another(tmp_path: Path) -> None:
    weight(tmp_path)
    given = Given(str(tmp_path / "serve.py"), function="load")
    before = given.looked().sha256
    (tmp_path / "beside.py").write_text(BESIDE + "# other\n")
    assert given.looked().sha256 != before


@pytest.mark.parametrize(
    ("text", "function", "told"),
    [
        ("def load(d, t): ...", "lod", r"serve.py: has no function 'lod'; did you mean load\?"),
        ("def load(d, t): ...", "", "serve.py: name the function in it that loads the model: .*serve.py:FUNCTION"),
        ("FILES = ['../secret']", "load", "serve.py: FILES: '../secret' lies outside of its folder"),
        ("FILES = ['/etc/passwd']", "load", "serve.py: FILES: '/etc/passwd' lies outside of its folder"),
        ("FILES = ['link']", "load", "serve.py: FILES: 'link' lies outside of its folder"),
        ("FILES = ['gone.bin']", "load", "serve.py: FILES: there is no gone.bin beside it"),
        ("FILES = ['program.py']", "load", "serve.py: FILES: program.py is what the file itself is called"),
        ("FILES = 3", "load", "serve.py cannot be read: FILES must be a list of names"),
        ("x = 1\nFILES = [str(x)]", "load", "serve.py cannot be read: line 2: FILES must be written out"),
        ("def load(:", "load", "serve.py cannot be read: invalid syntax"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_run(tmp_path: Path, text: str, function: str, told: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "own" / "program.py").write_text("")
    (tmp_path / "own" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "own" / "serve.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + text)
    given = Given(str(tmp_path / "own" / "serve.py"), function=function)
    with pytest.raises(GivenError, match=told.replace("line 2", "line 3")):
        given.fit(given.looked(), SPEC)
    assert not (tmp_path / "ran").exists()


def test_a_function_is_named_of_a_python_file_alone(tmp_path: Path) -> None:
    import onnx

    from compressors.runtimes.export import to_onnx

    onnx.save(to_onnx(skeleton(SPEC.config), SPEC), str(tmp_path / "a.onnx"))
    given = Given(str(tmp_path / "a.onnx"), function="load")
    with pytest.raises(GivenError, match=r"a\.onnx: :load: a function is named of a Python file alone"):
        given.fit(given.looked(), SPEC)


def test_what_is_not_callable_is_told(tmp_path: Path, dense: Artifact) -> None:
    (tmp_path / "serve.py").write_text("def load(directory, threads):\n    return 3\n")
    found = made(Given(str(tmp_path / "serve.py"), function="load"), dense, tmp_path / "made")
    with pytest.raises(PressbenchError, match="load returned int: it must return what is called with inputs"):
        found.load()
