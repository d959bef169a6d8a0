"""A hub on localhost with one model and one data set, and a user who asks it with a fresh cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cache import Cache

sys.path.append(str(Path(__file__).parents[2]))

from hub_server import HubServer

MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "tokenizer.json": b"{}",
    "vocab.txt": b"[PAD]\n",
    "README.md": b"# tiny",
    "training_args.bin": b"a pickle",
    "model.safetensors": os.urandom(300_000),
    "pytorch_model.bin": b"the same again, as a pickle",
    "onnx/model.onnx": b"the same again, elsewhere",
}
DATASET = {"README.md": b"# tiny", "data/train.csv": b"text,label\na,0\nb,1\n", "data/test.parquet": os.urandom(2000)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub that HF_ENDPOINT names: models/org/tiny and datasets/org/rows."""
    write(tmp_path / "hub/models/org/tiny", MODEL)
    write(tmp_path / "hub/datasets/org/rows", DATASET)
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy") or name == "TRANSFORMERS_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with HubServer(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")
