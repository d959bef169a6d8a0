"""A model larger than the memory: its weights are looked at layer by layer, and let go once they are packed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers

from compressors import artifact
from compressors.interface import InputSpec, ModelSpec

WIDTH, LAYERS = 384, 24
COMPRESS = """
import sys, json
from pathlib import Path

import torch

from compressors import registry
from compressors.artifact import open_artifact
from compressors.build import build_step
from compressors.interface import Context, Examples, Hardware

torch.set_num_threads(1)
large, target, name, parameters = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
open_artifact(large.parent / "small").model()  # what is imported for the first model is not its memory
source = open_artifact(large)
texts = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(0))
examples = Examples({"input_ids": texts, "attention_mask": torch.ones_like(texts)}, texts)
context = Context(source.spec, Hardware("cpu", "cpu-avx2"), source.model, calibration=examples)
print("begun", flush=True)
sys.stdin.readline()
build_step(registry.build(name, parameters), source, context, target)
"""
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""What is freed goes back to the system at once, as it does of layers of a size for which this matters; glibc keeps
some of what is smaller than 32 MB for itself."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def llama(folder: Path, width: int, layers: int) -> artifact.Artifact:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    spec = ModelSpec("random", config.to_dict(), {"input_ids": InputSpec("int64", ("batch", "sequence"))})
    return artifact.save(model, folder, spec)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    """Random weights, 230 MB in 24 blocks of 9."""
    folder = tmp_path_factory.mktemp("models")
    llama(folder / "small", 16, 1)
    return llama(folder / "large", WIDTH, LAYERS)


def taken(process: int) -> int:
    """Bytes that the system cannot have back: those that no file backs."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * sum(map(int, re.findall(r"^RssAnon:\s+(\d+) kB$", status, re.M)))


@linux
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("quantize-weights", {"bits": 4}),
        ("quantize-nf4", {}),
        ("quantize-gptq", {}),
    ],
    ids=["4bit", "nf4", "gptq"],
)
def test_it_never_lies_in_memory_as_a_whole(
    source: artifact.Artifact, tmp_path: Path, name: str, parameters: dict[str, object]
) -> None:
    command = [sys.executable, "-c", COMPRESS, str(source.directory), str(tmp_path / "made"), name]
    process = subprocess.Popen(
        [*command, json.dumps(parameters)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | RETURNED,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stdout.readline() == "begun\n"
    before = most = taken(process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    while process.poll() is None:
        with contextlib.suppress(OSError):
            most = max(most, taken(process.pid))
        time.sleep(0.002)
    assert process.returncode == 0
    dense, made = (artifact.open_artifact(path).disk_bytes for path in (source.directory, tmp_path / "made"))
    told = f"{(most - before) / 1e6:.0f} MB for {dense / 1e6:.0f} in and {made / 1e6:.0f} out"
    assert dense > 200e6 and most - before < 0.8 * dense, (
        told
    )  # what is worked with takes 100 MB, of however many blocks


def test_a_tensor_that_is_let_go_leaves_the_others(source: artifact.Artifact) -> None:
    model = source.model()
    first = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    kept = model.model.layers[1].mlp.up_proj.weight
    del model
    assert not torch.equal(first, kept) and torch.isfinite(kept).all()
    assert torch.equal(source.model().model.layers[0].mlp.up_proj.weight, first)
