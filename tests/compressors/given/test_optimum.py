"""Folders that optimum exported with its own code are run as the models that they were exported from.

optimum-onnx 0.1 wants a transformers that this suite is not made for, so that it is called in one of its own:

    python3 -m venv optimum && optimum/bin/pip install "optimum-onnx==0.1.0" onnx onnxruntime
    PRESSBENCH_OPTIMUM=optimum/bin/python pytest tests/compressors/given/test_optimum.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.given import Given
from compressors.interface import Context, Hardware, Unsupported

sys.path.append(str(Path(__file__).parents[2]))
from tiny_architectures import Subject, make

PYTHON = os.environ.get("PRESSBENCH_OPTIMUM", "")
EXPORT = """
import sys
from optimum.exporters.onnx import main_export
source, folder, task = sys.argv[1:]
main_export(source, output=folder, task=task, do_validation=False)
"""
CPU = Hardware("cpu", "cpu-other")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="needs PRESSBENCH_OPTIMUM, the Python of an environment with optimum"
)


def exported(subject: Subject, task: str, folder: Path) -> Path:
    source = folder / "source"
    subject.dense.model().save_pretrained(source)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CI")}
    subprocess.run(
        [PYTHON, "-c", EXPORT, str(source), str(folder / "theirs"), task], check=True, env=environment, timeout=300
    )
    return folder / "theirs"


def taken(folder: Path, dense: Artifact, place: Path) -> Artifact:
    looked = Given(str(folder)).looked()
    given = Given(str(folder), looked.sha256)
    given.fit(looked, dense.spec)
    return build_step(given, dense, Context(dense.spec, CPU, dense.model), place)


def asked() -> dict[str, np.ndarray]:
    inputs = {
        "input_ids": np.random.default_rng(0).integers(4, 20, (3, 9)),
        "attention_mask": np.ones((3, 9), np.int64),
    }
    inputs["attention_mask"][1, 5:] = 0
    return inputs


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("bert", "text-classification"), ("llama", "text-generation"), ("llama", "text-generation-with-past"),
        ("qwen3", "text-generation-with-past"), ("gpt2", "text-generation-with-past"),
        ("opt", "text-generation-with-past"), ("neox", "text-generation-with-past"),
    ],
)  # fmt: skip
def test_it_is_what_it_was_exported_from(kind: str, task: str, tmp_path: Path) -> None:
    subject = make(kind, tmp_path / "dense")
    dense = subject.dense
    made = taken(exported(subject, task, tmp_path), dense, tmp_path / "made")
    inputs, real = asked(), slice(None)
    if task != "text-classification":
        real = asked()["attention_mask"] == 1
    np.testing.assert_allclose(made.load()(inputs)[real], dense.load()(inputs)[real], atol=1e-4)
    if not task.endswith("with-past"):
        with pytest.raises(Unsupported):
            made.generator()
        return
    ours, theirs = made.generator(), dense.generator()
    prompts = inputs["input_ids"]
    first = theirs.prefill(prompts)
    np.testing.assert_array_equal(ours.prefill(prompts), first)
    np.testing.assert_array_equal(ours.decode(first, 6), theirs.decode(first, 6))
    assert ours.bytes_cached() == theirs.bytes_cached()
