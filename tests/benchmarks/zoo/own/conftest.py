"""A hub on localhost that has tiny models and data under the names of the real ones; models and data that are
understood, or refused in a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import understand
from compressors.interface import PressbenchError

sys.path.append(str(Path(__file__).parents[3]))
from hub_server import HubServer
from tiny_models import classifier


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """What HF_ENDPOINT names: `tmp_path/hub/models` and `tmp_path/hub/datasets`."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy") or name == "TRANSFORMERS_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "hub").mkdir()
    with HubServer(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that no test changes."""
    folder = tmp_path_factory.mktemp("models")
    classifier(folder / "named")
    classifier(folder / "unnamed", None)
    return folder


@pytest.fixture
def understood(tmp_path: Path, shared: Path) -> Callable[..., OwnModel]:
    def make(model: str = "named", data: str = "reviews.csv", **values: Any) -> OwnModel:
        where = tmp_path if (tmp_path / model).exists() else shared
        said = {"model": str(where / model), "data": data, **values}
        found = understand(declare("own", "--model", tmp_path, said), Cache(tmp_path / "cache"))
        return found

    return make


@pytest.fixture
def refusal(understood: Callable[..., OwnModel], tmp_path: Path, shared: Path) -> Callable[..., str]:
    """The line that a person reads, with the folders cut off."""

    def read(*args: Any, **values: Any) -> str:
        before = list((tmp_path / "cache").rglob("seal.json"))
        with pytest.raises(PressbenchError) as raised:
            understood(*args, **values)
        text = str(raised.value)
        assert "\n" not in text and text.startswith("--model: ")
        assert list((tmp_path / "cache").rglob("seal.json")) == before
        return text.removeprefix("--model: ").replace(f"{tmp_path}/", "").replace(f"{shared}/", "")

    return read
