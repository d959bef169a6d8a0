"""What a peer does wrong is told in one line and leaves nothing behind; what it hands back is held against itself.

The peer here is a script that quantizes by rounding and writes GPTQ's layout in plain numpy, run by the interpreter of
the tests as a peer's own is. Each fault is an option of it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch

from compressors import artifact, conformance, registry, surgery
from compressors.build import build
from compressors.interface import PressbenchError, Unsupported
from compressors.peers import formats
from compressors.peers.base import Peer
from compressors.quantization.packed_layers import PackedLinear

SIZE = 16
SCRIPT = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

folder = Path(sys.argv[2])
job = json.loads((folder / "job.json").read_text())
fault, size = job["options"]["fault"], job["options"]["group_size"]
if fault == "crash":
    print("a warning", file=sys.stderr)
    raise RuntimeError("it broke\\nin two lines")
if fault == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if fault == "hang":
    child = subprocess.Popen(["sleep", "600"])
    Path(job["options"]["note"]).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)
if fault == "nothing":
    sys.exit(0)
import numpy as np
from safetensors.numpy import load_file, save_file

given = load_file(folder / "model" / "model.safetensors")
told = {"environment": dict(os.environ), "job": job, "config": json.loads((folder / "model/config.json").read_text())}
told["calibration"] = (folder / "calibration.safetensors").exists()
if job["options"]["note"]:
    Path(job["options"]["note"]).write_text(json.dumps(told))
saved, values = {}, {}
for name in job["layers"]:
    weight = given[name + ".weight"]
    rows, columns = weight.shape
    grouped = weight.reshape(rows, -1, size)
    low, high = np.minimum(grouped.min(2), 0), np.maximum(grouped.max(2), 0)
    scale = ((high - low) / 15).astype(np.float16)
    zero = np.clip(np.round(-low / scale), 1, 15)
    codes = np.clip(np.round(grouped / scale[..., None]) + zero[..., None], 0, 15)
    values[name] = ((codes - zero[..., None]) * scale[..., None].astype(np.float32)).reshape(rows, columns)
    codes, zero = codes.reshape(rows, columns).astype(np.uint32), zero.astype(np.uint32)
    order = np.arange(columns) // size
    if fault == "columns out of order":
        order = np.roll(order, 1)
    scales = scale.reshape(-1, rows) if fault == "scales transposed" else scale.T
    stored = zero if fault == "zero one off" else zero - 1

    def words(rowwise):
        out = np.zeros((rowwise.shape[0], rowwise.shape[1] // 8), np.uint32)
        for at in range(8):
            out |= rowwise[:, at::8] << np.uint32(4 * at)
        return out.view(np.int32)

    saved |= {
        name + ".qweight": np.ascontiguousarray(words(codes).T), name + ".qzeros": words(stored.T),
        name + ".scales": np.ascontiguousarray(scales), name + ".g_idx": order.astype(np.int32),
    }
last = job["layers"][-1]
if fault == "too few":
    del saved[last + ".qzeros"]
if fault == "too few values":
    del values[last]
(folder / "saved").mkdir()
if fault == "another format":
    (folder / "saved" / "model.safetensors").write_bytes(b"PK, not safetensors")
else:
    save_file(saved, folder / "saved" / "model.safetensors")
save_file(values, folder / "values.safetensors")
(folder / "report.json").write_text(json.dumps({"seconds": 1.25}))
sys.exit(0)
"""
_HERE = SimpleNamespace(__file__="")


@dataclass(frozen=True)
class _Planted(Peer):
    """The peer of these tests. note: a file that the script writes what it was given to."""

    name: ClassVar[str] = "planted-peer"
    pins: ClassVar[Any] = {"planted": "1.0"}
    script: ClassVar[Any] = _HERE
    seconds: ClassVar[float] = 60.0

    fault: str = ""
    note: str = ""
    group_size: int = SIZE

    @property
    def options(self) -> dict[str, Any]:
        return self.parameters

    @property
    def block(self) -> int:
        return self.group_size

    def read(self, files: Any, layer: str, rows: int, columns: int) -> Any:
        return formats.gptq(files, layer, rows, columns, bits=4, v1=True)


class _Hurried(_Planted):
    seconds = 3.0  # of which the script needs a moment to begin


class _Calibrated(_Planted):
    needs = frozenset({"calibration"})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The peer's environment with its script, and an empty folder for temporary files, which is returned."""
    own = tmp_path / "peers" / "planted-peer"
    (own / "bin").mkdir(parents=True)
    python = own / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    pinned(own, "planted", "1.0")
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(_HERE, "__file__", str(tmp_path / "script.py"))
    monkeypatch.setenv("PRESSBENCH_PEERS", str(tmp_path / "peers"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def pinned(own: Path, package: str, version: str) -> None:
    """A package as pip leaves it."""
    told = own / f"lib/python3.11/site-packages/{package}-{version}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def compressed(peer: Peer, kind: str = "llama") -> Any:
    subject = conformance.subject(kind)
    return peer.compress(subject.dense.model(), subject.context(peer))


def left(here: Path) -> list[Path]:
    """What was handed over and is still there."""
    return list(here.glob("pressbench-peer-*"))


def nearest(weight: torch.Tensor) -> np.ndarray:
    """Round to nearest in float64, as the script should have."""
    grouped = weight.double().numpy().reshape(len(weight), -1, SIZE)
    low, high = np.minimum(grouped.min(2, keepdims=True), 0), np.maximum(grouped.max(2, keepdims=True), 0)
    scale = ((high - low) / 15).astype(np.float16).astype(np.float64)
    zero = np.clip(np.round(-low / scale), 1, 15)
    return ((np.clip(np.round(grouped / scale) + zero, 0, 15) - zero) * scale).reshape(weight.shape)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_what_is_scored_is_what_the_peer_saved(here: Path, tmp_path: Path, kind: str) -> None:
    subject, peer = conformance.subject(kind), _Planted()
    registry.register(_Planted)
    made = build([peer], subject.dense, subject.context(peer), tmp_path / "made")
    model, dense = made.model(), subject.dense.model()
    names = surgery.block_linears(dense)
    packed = [name for name, module in model.named_modules() if isinstance(module, PackedLinear)]
    assert packed == names  # the blocks alone: neither embeddings nor a head
    for name in names:
        weight = surgery.get(dense, name).weight.detach()
        apart = np.abs(surgery.get(model, name).weight.numpy() - nearest(weight))
        # A weight midway between two codes may go either way.
        assert float((apart > 1e-3 * weight.abs().max().item()).mean()) < 0.01, name
    told = made.recipe[-1]["told"]
    weights = sum(surgery.get(dense, name).weight.numel() for name in names)
    columns = sum(surgery.get(dense, name).in_features for name in names)
    size = weights // 2 + weights * 5 // 2 // SIZE + 4 * columns  # codes; a scale and a zero a group; the groups
    assert told == {"peer": "planted 1.0", "seconds": 1.25, "bytes": size}
    assert left(here) == []


def test_what_is_told_is_not_part_of_what_it_is(here: Path, tmp_path: Path) -> None:
    subject = conformance.subject("bert")
    entry = {"compressor": "x", "parameters": {}, "structure": {}, "seconds": 1.0}
    model = subject.dense.model()
    recipes = [[{**entry, "told": {"seconds": seconds}}] for seconds in (1, 2)]
    one, other = (
        artifact.save(model, tmp_path / str(n), subject.spec, recipe=recipe) for n, recipe in enumerate(recipes)
    )
    assert one.digest == other.digest and one.recipe != other.recipe


def test_it_is_given_files_and_no_way_out(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    compressed(_Planted(note=str(tmp_path / "note")))
    told = json.loads((tmp_path / "note").read_text())
    assert {told["environment"][name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")} == {"1"}
    assert told["environment"]["OMP_NUM_THREADS"] == "1" and told["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert told["environment"]["HF_HOME"].startswith(str(here))
    assert told["job"]["others"] == ["lm_head"] and told["job"]["threads"] == 1
    assert told["config"]["rope_theta"] == told["config"]["rope_parameters"]["rope_theta"]
    assert told["calibration"] is False


FAULTS = {
    "crash": r"planted-peer: its quantizer failed: RuntimeError: it broke in two lines$",
    "killed": r"planted-peer: its quantizer was ended by SIGKILL: it said nothing$",
    "nothing": r"planted-peer: its quantizer left no values\.safetensors: it said nothing$",
    "too few": r"planted-peer: the peer saved no model\.layers\.1\.mlp\.down_proj\.qzeros$",
    "too few values": r"planted-peer: the peer saved no model\.layers\.1\.mlp\.down_proj$",
    "another format": r"planted-peer: model\.safetensors cannot be read: \S",
    "zero one off": r"planted-peer: \S+q_proj: read from the peer's files, 4096 of 4096 weights",
    "scales transposed": r"q_proj: read from the peer's files, \d+ of 4096 weights are not what",
    "columns out of order": r"q_proj: its columns are in groups by activation \(g_idx\), not as they lie$",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(here: Path, fault: str) -> None:
    with pytest.raises(PressbenchError, match=FAULTS[fault]) as told:
        compressed(_Planted(fault=fault))
    assert "\n" not in str(told.value)
    assert left(here) == []


def test_one_that_hangs_is_stopped_with_all_that_it_started(here: Path, tmp_path: Path) -> None:
    with pytest.raises(PressbenchError, match=r"^planted-peer: its quantizer had not ended after 3 s, stopped$"):
        compressed(_Hurried(fault="hang", note=str(tmp_path / "pids")))
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        for _ in range(100):  # who is killed is not gone at once
            if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"{pid} goes on")
    assert left(here) == []


def test_an_interpreter_that_does_not_start_is_told(here: Path, tmp_path: Path) -> None:
    (tmp_path / "peers/planted-peer/bin/python").chmod(0o644)
    with pytest.raises(PressbenchError, match=r"bin/python does not start: Permission denied$"):
        compressed(_Planted())
    assert left(here) == []


def test_a_peer_that_calibrates_another_model_is_told(here: Path) -> None:
    """The script writes no answer of the dense model: one that differs is in the test below."""
    with pytest.raises(PressbenchError, match="the peer saved no answer of the dense model"):
        compressed(_Calibrated())


@pytest.mark.parametrize("apart", [0.0, 0.001, 0.1])
def test_the_dense_model_must_answer_alike_on_both_sides(apart: float) -> None:
    subject, peer = conformance.subject("llama"), _Calibrated()
    model, context = subject.dense.model(), subject.context(peer)
    mask = context.calibration.inputs["attention_mask"][0]
    with torch.inference_mode():
        ids = context.calibration.inputs["input_ids"][:1, : int(mask.sum())]  # what is padding the peer does not see
        logits = model(input_ids=ids).logits
    values = {"answer of the dense model": logits + apart * logits.std()}
    if apart < 0.01:
        peer._check_answer(model, context, values)
    else:
        with pytest.raises(PressbenchError, match=r"answers otherwise in the peer's environment \(by 0\.1 standard"):
            peer._check_answer(model, context, values)


def test_a_model_that_is_not_as_its_configuration_has_it_is_unsupported(here: Path) -> None:
    subject, peer = conformance.subject("llama"), _Planted()
    model = subject.dense.model()
    surgery.keep_layers(model, [0])
    with pytest.raises(Unsupported, match="planted-peer: is given a model as its configuration has it"):
        peer.compress(model, subject.context(peer))


# -- where it is not there -------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRESSBENCH_PEERS", str(tmp_path))
    return tmp_path


def reason(name: str, kind: str = "llama") -> str | None:
    return registry.unsupported_reason(registry.build(name), conformance.subject(kind).spec, conformance.HARDWARE)


PEERS = sorted(name for name, cls in registry.compressor_classes().items() if issubclass(cls, Peer))


@pytest.mark.parametrize("name", PEERS)
def test_without_its_environment_it_is_unsupported_with_the_command(nowhere: Path, name: str) -> None:
    assert reason(name) == f"{name}: needs an environment of its own: pressbench peers install {name}"


def test_another_version_than_the_pinned_one_is_unsupported(nowhere: Path) -> None:
    cls = registry.compressor_classes()["peer-hqq"]
    own = nowhere / "peer-hqq"
    (own / "bin").mkdir(parents=True)
    (own / "bin" / "python").touch()
    for package, version in cls.pins.items():
        pinned(own, package, {"hqq": "0.2.7", "torch": f"{version}+cpu"}.get(package, version))
    assert reason("peer-hqq") == (
        "peer-hqq: hqq is 0.2.7 in its environment where 0.2.8.post1 is pinned: pressbench peers install peer-hqq"
    )
    os.rename(*(own / f"lib/python3.11/site-packages/hqq-{v}.dist-info" for v in ("0.2.7", "0.2.8.post1")))
    told = own / "lib/python3.11/site-packages/hqq-0.2.8.post1.dist-info/METADATA"
    told.write_text(told.read_text().replace("0.2.7", "0.2.8.post1"))
    assert reason("peer-hqq") is None  # a CPU build of torch is the version that is pinned


def test_what_it_cannot_take_is_told_before_what_is_missing(nowhere: Path) -> None:
    assert reason("peer-llmcompressor-gptq", "bert") == "peer-llmcompressor-gptq: quantizes models that predict tokens"
    assert (
        registry.unsupported_reason(
            registry.build("peer-hqq", {"group_size": 48}), conformance.subject("llama").spec, conformance.HARDWARE
        )
        == "peer-hqq: 48 columns share a scale: does not divide the 64 of model.layers.0.self_attn.q_proj"
    )
